"""``core.ensemble.preprocess`` under the name that stored preprocessors of earlier runs hold."""

from core.ensemble.preprocess import DropRedundant as DropRedundant, Limit as Limit
