"""What the branches of the settings tree share: their base class, number types, tokens, and finding secrets by type."""

from __future__ import annotations

from collections.abc import Iterator
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretBytes, SecretStr, model_validator

MIN_TOKEN_CHARACTERS = 16
"""Characters of a token that clients of this node present; a shorter one can be guessed."""

ANY_ITEM = "*"
"""In a path of keys: any index of a list, any key of a table."""


def _require_token_length(token: SecretStr) -> SecretStr:
    if 0 < len(token.get_secret_value()) < MIN_TOKEN_CHARACTERS:
        msg = f"the token is too short to be safe; use at least {MIN_TOKEN_CHARACTERS} characters"
        raise ValueError(msg)
    return token


Positive = Annotated[float, Field(gt=0)]
Fraction = Annotated[float, Field(ge=0, le=1)]
Token = Annotated[SecretStr, AfterValidator(_require_token_length)]
"""A secret that clients present; empty: none is required."""


class Branch(BaseModel):
    """A branch of the tree: frozen, no unknown keys, defaults validated, no inputs in pydantic's messages.

    A number stands for text that may be one: `protocol = 5` is natural in TOML.
    """

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        validate_default=True,
        allow_inf_nan=False,
        hide_input_in_errors=True,
        coerce_numbers_to_str=True,
    )

    @model_validator(mode="before")
    @classmethod
    def _take_numbers(cls, values: Any) -> Any:
        """Return the values with numbers as text where that is one of the choices."""
        if not isinstance(values, dict):
            return values
        choices = {name: get_args(field.annotation) for name, field in cls.model_fields.items()}
        return {
            name: str(value) if type(value) in (int, float) and str(value) in choices.get(name, ()) else value
            for name, value in values.items()
        }


def secret_paths(annotation: Any) -> Iterator[tuple[str, ...]]:
    """Yield the path of every secret in a branch, or in any other type: `("mqtt", "password")`, `("peers", "*")`."""
    origin = get_origin(annotation)
    if origin is not None:
        parts = get_args(annotation)[:1] if origin is Annotated else get_args(annotation)
        step = () if origin in (Annotated, Union, UnionType) else (ANY_ITEM,)
        for part in parts:
            yield from ((*step, *path) for path in secret_paths(part))
    elif isinstance(annotation, type) and issubclass(annotation, SecretStr | SecretBytes):
        yield ()
    elif isinstance(annotation, type) and issubclass(annotation, BaseModel):
        for name, field in annotation.model_fields.items():
            yield from ((name, *path) for path in secret_paths(field.annotation))


def masked_address(address: str) -> str:
    """Return an address without what may be secret in it: user, password and query."""
    scheme, separator, rest = address.partition("://")
    netloc, slash, path = rest.partition("/")
    host = netloc.rpartition("@")[2]
    user = "***@" if "@" in netloc else ""
    shown = f"{scheme}{separator}{user}{host.partition('?')[0]}{slash}{path.partition('?')[0]}"
    return f"{shown}?***" if "?" in rest else shown
