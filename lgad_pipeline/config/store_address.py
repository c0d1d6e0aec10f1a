"""Addresses of folders of an object store, as settings name them."""

from typing import Annotated

from pydantic import AfterValidator


def _is_address(address: str) -> str:
    if "://" not in address:
        raise ValueError("write the address of a store, such as s3://bucket/folder")
    return address


Address = Annotated[str, AfterValidator(_is_address)]
"""Address of a folder of an object store."""


def below(address: str, name: str) -> str:
    """Return the address of a folder below another one; the query of the address is kept.

    Example:
        >>> below("s3://bucket/project?region=eu-west-1", "shards/drives")
        's3://bucket/project/shards/drives?region=eu-west-1'
    """
    folder, mark, query = address.partition("?")
    return f"{folder.rstrip('/')}/{name}{mark}{query}"
