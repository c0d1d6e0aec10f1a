"""Model registry: versions of a student, their owner, and the rule that makes one of them champion."""

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from lgad_pipeline.atomic_files import locked
from lgad_pipeline.errors import LgadError
from lgad_pipeline.evaluation.promotion import Verdict
from resources.mlflow.logged_model import files_digest, log_model
from resources.mlflow.resource import MlflowTracking
from resources.mlflow.versions import (
    CHALLENGER,
    CHAMPION,
    CODE_TAG,
    DIGEST_TAG,
    FINGERPRINT_TAG,
    PENDING_TAG,
    REPLACED_TAG,
    ROLLED_BACK_TAG,
    RULE_TAG,
    VersionLostError,
    champion_of,
    claim,
    network_of,
    same_training,
    versions_of,
)

_ATTEMPTS = 5
_SETTLE_SECONDS = 2.0
_NONE = "none"


@dataclass(frozen=True)
class Decision:
    """Outcome of the champion/challenger rule for a new version.

    Attributes:
        version: The new version.
        champion: Version that is in use now; None if there is none that can be loaded.
        before: Version that had the alias champion before; None if there was none.
        reason: One sentence with the numbers.
        verdict: The numbers; None where there was nothing to compare with.
    """

    version: str
    champion: str | None
    before: str | None
    reason: str
    verdict: Verdict | None = None

    @property
    def promoted(self) -> bool:
        """True if the new version is in use."""
        return self.champion == self.version

    @property
    def takes_over(self) -> bool:
        """True if the new version is in use and was not before."""
        return self.promoted and self.before != self.version


def register(
    tracking: MlflowTracking,
    name: str,
    *,
    folder: Path,
    graph: Path,
    run_id: str,
    fingerprint: str,
    code: str,
    example: bytes,
    tags: Mapping[str, str],
    card: str,
    owner: str,
) -> str:
    """Register the student in `folder` as a new version with the alias challenger.

    A student is registered once: the version with the same training, files and code is returned, and its card
    and tags are renewed. If that version's files are gone, the student is registered again.

    Args:
        tracking: The MLflow store.
        name: Name of the registered model.
        folder: Directory of weights.safetensors, network.json and predictor.json.
        graph: The same network as ONNX, logged with it.
        run_id: Id of the training's MLflow run.
        fingerprint: Fingerprint of the training.
        code: Fingerprint of the code that is stored with the version: prediction, export and serving.
        example: A JPEG file, the input example.
        tags: Tags of the version; `dataset` and `recipe` are those of the registered model as well.
        card: Description of the version, markdown.
        owner: Name of this project.

    Returns:
        The version.

    Raises:
        LgadError: the registered model belongs to another project, data set or recipe.
    """
    client = tracking.client
    tracking.point_mlflow_here()
    claim(tracking, name, owner=owner, tags=tags)
    own = {FINGERPRINT_TAG: fingerprint, DIGEST_TAG: files_digest(folder), CODE_TAG: code}
    version = _intact_version(tracking, name, own)
    if version is None:
        uri, model_id = log_model(tracking, run_id, folder=folder, graph=graph, example=example)
        created = client.create_model_version(name, uri, run_id, tags={**own, **tags}, model_id=model_id)
        version = created.version
    version = str(version)
    client.update_model_version(name, version, description=card)
    for key, value in tags.items():
        client.set_model_version_tag(name, version, key, value)
    client.set_registered_model_alias(name, CHALLENGER, version)
    return version


def _intact_version(tracking: MlflowTracking, name: str, tags: Mapping[str, str]) -> str | None:
    """Return the newest version that has all of these tags and whose files are there."""
    for version in versions_of(tracking, name):
        if not tags.items() <= version.tags.items():
            continue
        try:
            with network_of(tracking, name, version=str(version.version)):
                return str(version.version)
        except VersionLostError:
            continue
    return None


def decide(
    tracking: MlflowTracking,
    name: str,
    *,
    version: str,
    compare: Callable[[Path, Path], Verdict],
    lock: Path,
    objection: str = "",
    load: Callable[[Path], object] = lambda folder: None,
) -> Decision:
    """Put the new version in use if it beats the champion; write the decision down with the version.

    The decision is written down before the alias is set. If the store fails between the two or after them, a
    repeated call finishes the decision and returns it again.

    One run of this project decides at a time. Where another machine has put its own version in use meanwhile,
    which a server's alias shows, the new version is compared with that one.

    Args:
        tracking: The MLflow store.
        name: Name of the registered model.
        version: The new version.
        compare: Applies the rule to the registered files of the champion and of the new version, two folders.
        lock: Folder that is locked meanwhile.
        objection: Why the new version must not be used where there is no champion to compare it with, as a
            clause, such as a score no better than chance; empty if nothing speaks against it.
        load: Loads the network in a folder; raises LgadError if it cannot be loaded.

    Raises:
        LgadError: other machines kept changing the champion.
    """
    challenge = _Challenge(tracking, name, version, compare, objection, load)
    with locked(lock):
        for _ in range(_ATTEMPTS):
            before = champion_of(tracking, name)
            decision = _unfinished(tracking, name, version) if before == version else None
            if decision is None:
                decision = challenge.decision(before)
                if before != version:  # the champion keeps the decision of its promotion
                    _write_down(tracking, name, decision)
                if decision.takes_over and not _put_in_use(tracking, name, decision):
                    continue
            if PENDING_TAG in tracking.client.get_model_version(name, version).tags:
                tracking.client.delete_model_version_tag(name, version, PENDING_TAG)
            return decision
    raise LgadError(f"The champion of {name} kept changing; register version {version} again.")


def _unfinished(tracking: MlflowTracking, name: str, version: str) -> Decision | None:
    """Return the decision that made a version champion, if the call that took it failed after that."""
    tags = tracking.client.get_model_version(name, version).tags
    if PENDING_TAG not in tags:
        return None
    before = None if tags[PENDING_TAG] == _NONE else tags[PENDING_TAG]
    return Decision(version, version, before, tags["decision"])


def _put_in_use(tracking: MlflowTracking, name: str, decision: Decision) -> bool:
    """Make the new version champion; return False if another machine has set the alias meanwhile."""
    if champion_of(tracking, name) != decision.before:
        return False
    tracking.client.set_registered_model_alias(name, CHAMPION, decision.version)
    if tracking.own_database is None:
        time.sleep(_SETTLE_SECONDS)  # another machine may have looked before, and set its own now
        return champion_of(tracking, name) == decision.version
    return True


@dataclass(frozen=True)
class _Challenge:
    """New version that challenges the champion; see `decide` for the attributes."""

    tracking: MlflowTracking
    name: str
    version: str
    compare: Callable[[Path, Path], Verdict]
    objection: str
    load: Callable[[Path], object]

    def decision(self, champion: str | None) -> Decision:
        """Apply the rule."""
        version, versions = self.version, versions_of(self.tracking, self.name)
        rolled_back = [each for each in same_training(versions, version) if ROLLED_BACK_TAG in each.tags]
        if champion != version and rolled_back:
            day, number = rolled_back[0].tags[ROLLED_BACK_TAG], str(rolled_back[0].version)
            training = "" if number == version else f", the same training as version {number},"
            reason = f"Version {version}{training} was rolled back on {day} and stays challenger."
            return Decision(version, champion, champion, reason)
        if champion is None:
            earlier = len(versions) > 1
            return self._without_comparison(
                None, "has no champion to beat" if earlier else "is the first", ""
            )
        try:
            with network_of(self.tracking, self.name, version=champion) as network:
                return self._against(champion, network)
        except VersionLostError as error:
            return self._without_comparison(champion, "could not be compared", str(error))

    def _without_comparison(self, champion: str | None, why: str, lost: str) -> Decision:
        """Return the decision where no champion can be loaded: the version must be better than chance."""
        version, behind = self.version, f" {lost}" if lost else ""
        if self.objection:
            reason = f"Version {version} stays challenger: {self.objection}.{behind}"
            return Decision(version, None, champion, reason)
        return Decision(version, version, champion, f"Version {version} {why}: it becomes champion.{behind}")

    def _against(self, champion: str, network: Path) -> Decision:
        """Return the decision against the champion's network in a folder."""
        version = self.version
        remedy = f"`lgad rollback {self.name} --to VERSION` puts a version in use."
        fault = ""
        try:
            self.load(network)
        except LgadError as error:
            fault = str(error).rstrip(".")
        if champion == version:
            if not fault:
                return Decision(version, version, version, f"Version {version} is champion already.")
            reason = f"Version {version} has the alias champion but cannot be loaded ({fault}); {remedy}"
            return Decision(version, None, version, reason)
        try:
            if fault:
                raise LgadError(fault)
            with network_of(self.tracking, self.name, version=version) as challenger:
                verdict = self.compare(network, challenger)
        except LgadError as error:
            reason = f"Version {version} stays challenger: it cannot be compared with version {champion}"
            usable = None if fault else champion
            return Decision(version, usable, champion, f"{reason} ({str(error).rstrip('.')}); {remedy}")
        total = verdict.total
        numbers = (
            f"F1 {total.challenger:.3f} against {total.champion:.3f} of version {champion} on {total.frames} "
            f"validation frames, {100 * total.gain.value:+.1f} points ({100 * total.gain.low:+.1f} to "
            f"{100 * total.gain.high:+.1f})"
        )
        if verdict.promoted:
            reason = f"Version {version} becomes champion: {numbers}."
            return Decision(version, version, champion, reason, verdict)
        reason = f"Version {version} stays challenger: {numbers}; {'; '.join(verdict.objections)}."
        return Decision(version, champion, champion, reason, verdict)


def _write_down(tracking: MlflowTracking, name: str, decision: Decision) -> None:
    """Keep a decision as tags of the version, and with all numbers as JSON in its run."""
    client, version = tracking.client, decision.version
    tags = {"decision": decision.reason}
    if decision.verdict is not None:
        total = decision.verdict.total
        tags |= {
            "validation_f1": f"{total.challenger:.4f}",
            "champion_validation_f1": f"{total.champion:.4f}",
            "validation_gain": f"{total.gain.value:+.4f} ({total.gain.low:+.4f} to {total.gain.high:+.4f})",
            RULE_TAG: decision.verdict.rule,
        }
    if decision.takes_over:
        tags[PENDING_TAG] = decision.before or _NONE
        if decision.before is not None:
            tags[REPLACED_TAG] = decision.before
    for key, value in tags.items():
        client.set_model_version_tag(name, version, key, value[:5000])
    run_id = client.get_model_version(name, version).run_id
    if run_id:
        content = {"model": name, "promoted": decision.promoted, "time": time.time(), **asdict(decision)}
        client.log_dict(run_id, content, f"promotion/version-{version}.json")
