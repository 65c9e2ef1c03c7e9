"""Masks: what a projection seals in place of a value, and `Masked`, what a reader gets of it."""

from vaultstore.masks.base import HIDDEN, Mask
from vaultstore.masks.choices import constant, one_of, present
from vaultstore.masks.email import email_domain
from vaultstore.masks.flags import flags
from vaultstore.masks.keep import keep
from vaultstore.masks.lexicon import Lexicon
from vaultstore.masks.masked import Json, Masked, is_masked
from vaultstore.masks.numbers import age_band, band, year
from vaultstore.masks.people import initial, surname
from vaultstore.masks.places import region

__all__ = [
    "HIDDEN",
    "Json",
    "Lexicon",
    "Mask",
    "Masked",
    "age_band",
    "band",
    "constant",
    "email_domain",
    "flags",
    "initial",
    "is_masked",
    "keep",
    "one_of",
    "present",
    "region",
    "surname",
    "year",
]
