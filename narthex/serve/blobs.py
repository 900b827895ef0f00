"""The pictures of a run: what the client sent and what its tools cut out, in the store once the run is."""

from __future__ import annotations

from narthex.store import Store
from narthex.tokens.gallery import BlobLike, MemoryBlobs


class RunBlobs:
    """The pictures of one run: in memory, and from `keep_in` on in the store as well. Raises what the store raises.

    `known` has those of runs before, where this one goes on with a conversation.
    """

    def __init__(self, known: Store | None = None) -> None:
        self._memory = MemoryBlobs()
        self._media_types: dict[str, str] = {}
        self._known = known
        self._store: Store | None = None
        self._run_id = ""

    def put(self, data: bytes, media_type: str) -> str:
        sha256 = self._memory.put(data, media_type)
        self._media_types[sha256] = media_type
        if self._store is not None:
            self._store.blobs.put(data, media_type, run_id=self._run_id)
        return sha256

    def get(self, sha256: str) -> BlobLike:
        if self._known is None or sha256 in self._media_types:
            return self._memory.get(sha256)
        return self._known.blobs.get(sha256)

    def copy(self) -> RunBlobs:
        """The same pictures, for another run."""
        other = RunBlobs(self._known)
        for sha256, media_type in self._media_types.items():
            other.put(self._memory.get(sha256).data, media_type)
        return other

    def keep_in(self, store: Store, run_id: str) -> None:
        """Copy what is here into `store` as what that run shows, and from now on what comes."""
        self._store, self._run_id = store, run_id
        for sha256, media_type in list(self._media_types.items()):
            store.blobs.put(self._memory.get(sha256).data, media_type, run_id=run_id)
