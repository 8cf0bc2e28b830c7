"""beartype as the shape hook uses it: an int may stand where a float is asked for, as PEP 484 says."""

from beartype import BeartypeConf, beartype

typechecked = beartype(conf=BeartypeConf(is_pep484_tower=True))
