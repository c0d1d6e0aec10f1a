"""What MLflow's errors mean to a training: the server is away, refuses the user, or something is wrong."""

_AWAY = ("INTERNAL_ERROR", "TEMPORARILY_UNAVAILABLE", "REQUEST_LIMIT_EXCEEDED", "DEADLINE_EXCEEDED")
_REFUSED = ("UNAUTHENTICATED", "CUSTOMER_UNAUTHORIZED", "PERMISSION_DENIED")


def is_away(error: Exception) -> bool:
    """Whether an error says that the server is not there or out of order, so that later may be better."""
    from requests import RequestException

    return isinstance(error, RequestException) or getattr(error, "error_code", None) in _AWAY


def is_refused(error: Exception) -> bool:
    """Whether an error says that the server does not accept the user."""
    return getattr(error, "error_code", None) in _REFUSED


def fault(error: Exception) -> str:
    """An error as what the server does, to be put behind its name."""
    if is_refused(error):
        return "refuses the user (correct MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD)"
    return "does not answer" if is_away(error) else f"failed ({str(error).splitlines()[0]})"
