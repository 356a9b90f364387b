"""`parley_testing` under the name that it had; for applications without a `server` package of their own."""

from parley_testing import Parley, parley

__all__ = ["Parley", "parley"]
