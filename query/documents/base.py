"""What all JSON documents have in common: those of the commands, and those of the server."""

from pydantic import BaseModel, ConfigDict

__all__ = ["Document"]


class Document(BaseModel):
    """A JSON document or a part of one: further keys are allowed, NaN and infinity are not."""

    model_config = ConfigDict(extra="allow", allow_inf_nan=False)
