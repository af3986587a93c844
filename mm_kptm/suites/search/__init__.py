"""Search of a folder of pictures by a text or a picture, from the command line and on a page in the browser."""

from typing import TYPE_CHECKING

from mm_kptm.lazy import lazy

if TYPE_CHECKING:
    from mm_kptm.suites.search.index import Indexed, open_index, update_index
    from mm_kptm.suites.search.model import SearchModel, open_model
    from mm_kptm.suites.search.query import Hit, Searcher
else:
    __getattr__ = lazy(
        __name__,
        {
            "index": ["Indexed", "open_index", "update_index"],
            "model": ["SearchModel", "open_model"],
            "query": ["Hit", "Searcher"],
        },
    )

__all__ = ["Hit", "Indexed", "SearchModel", "Searcher", "open_index", "open_model", "update_index"]
