"""Tests, in which beartype checks the library's annotations, shapes included.

A test that gives wrong input on purpose turns the check off with the fixture `unchecked`, so that
it meets the library's own error, as a user would. Python imports this package before its modules,
also in the processes that tests start, so that nothing imports the library unchecked.
"""

from jaxtyping import install_import_hook

# An int is a float, as for mypy.
_CHECK = "beartype.beartype(conf=beartype.BeartypeConf(is_pep484_tower=True))"

install_import_hook("src.exact_retrieval", _CHECK)
