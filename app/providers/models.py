"""Reads models.toml: what families of models support."""

from __future__ import annotations

import re

from app.providers.quirk_tables import Row, read_rows, read_table


def bare_name(model: str) -> str:
    """The name that the globs of a row are held against: lower case, without the vendor, with dashes for dots."""
    name = model.lower().rsplit("/", 1)[-1].replace(".", "-").replace("@", "-")
    return _VENDOR.sub("", name)


_VENDOR = re.compile(r"^(?:(?:us|eu|apac|global)-)?(?:anthropic|openai|google|meta|mistralai|deepseek-ai|xai)-")

FAMILIES: tuple[Row, ...] = read_rows(read_table("models.toml")["rows"], "models.toml")
