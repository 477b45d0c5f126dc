"""Files and folders of an owner: what an agent does all day."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import islice

from aios.errors import BadRequest, Conflict, PayloadTooLarge, StorageCorrupt
from aios.storage import contents, moves
from aios.storage.change import Change
from aios.storage.paths import Parts, parse, parse_inner, show
from aios.storage.records import Meta
from aios.storage.staging import Staging
from aios.storage.store import Store, moment
from aios.storage.tree import Place, Tree
from aios.syscalls.storage_records import Binned, Content, Page, Stat

ABOUT_BYTES = 64 << 10
TAGS = 256


class Files:
    """Methods take the owner first, then paths in the owner's view. `author` is who does it, if not the owner;
    `key` makes a change happen once however often it is asked for; `expect` is the version that a change stands
    on (0: nothing there), and VersionConflict is raised if it is no longer that.

    All of them raise InvalidPath, NotFound, Conflict (the wrong kind of thing is there) and StorageUnavailable;
    changes Forbidden (a mount that may only be read) and QuotaExceeded."""

    def __init__(self, store: Store, staging: Staging) -> None:
        self._store, self._staging = store, staging

    # -- contents ----------------------------------------------------------------------------------

    async def write(
        self, owner: str, path: str, data: bytes, *, expect: int | None = None, parents: bool = True,
        author: str = "", key: str = "",
    ) -> Stat:  # fmt: skip
        """Make `data` the whole content of the file, which is made if it is not there (so are its folders, with
        `parents`). Raises PayloadTooLarge."""
        parts = parse_inner(path)
        self._staging.check_size(len(data))
        recipe = await self._staging.recipe(data)

        def put(change: Change) -> Stat:
            manifest = contents.put_manifest(change.db, recipe)
            return change.put(parts, manifest, recipe.size, "write", expect=expect, parents=parents)

        request = ("write", path, recipe.digest, expect, parents)
        return await self._staging.keep(
            recipe, lambda: self._store.change(owner, Stat, put, author=author, key=key, request=request)
        )

    async def create(
        self, owner: str, path: str, data: bytes = b"", *, author: str = "", key: str = ""
    ) -> Stat:
        """A new file. Raises VersionConflict if there is one."""
        return await self.write(owner, path, data, expect=0, author=author, key=key)

    async def append(
        self, owner: str, path: str, data: bytes, *, expect: int | None = None, author: str = "", key: str = ""
    ) -> Stat:
        """Add `data` to the end of the file, which is made if it is not there. Raises PayloadTooLarge."""
        request = ("append", path, bytes(data) if key else b"", expect)
        return await self._staging.splice(
            owner, parse_inner(path), "append", None, data, expect, author=author, key=key, request=request
        )

    async def truncate(
        self, owner: str, path: str, size: int, *, expect: int | None = None, author: str = "", key: str = ""
    ) -> Stat:
        """Keep the first `size` bytes of the file. Raises BadRequest if it has less."""
        request = ("truncate", path, size, expect)
        return await self._staging.splice(
            owner, parse_inner(path), "truncate", size, b"", expect, author=author, key=key, request=request
        )

    async def read(
        self, owner: str, path: str, *, offset: int = 0, length: int | None = None, version: int | None = None,
        snapshot: str = "",
    ) -> Content:  # fmt: skip
        """Bytes of the file, now, at `version` or in `snapshot`; what is behind its end is left out.

        Raises PayloadTooLarge for more than may be read at once, StorageCorrupt for bytes that are not those
        that were written, BadRequest."""
        parts = parse_inner(path)
        if offset < 0 or (length is not None and length < 0):
            raise BadRequest("A range has no negative numbers.", "Count from the start.", param="offset")

        def get(tree: Tree) -> Content:
            place = tree.file(parts)
            manifest, size = tree.manifest(place, version)
            end = size if length is None else min(size, offset + length)
            if end - offset > self._store.limits.read_bytes:
                limit = self._store.limits.read_bytes
                raise PayloadTooLarge(
                    f"At most {limit} bytes are read at once.", "Read ranges.", param="length"
                )
            try:
                data = contents.read(tree.db, manifest, offset, end) if end > offset else b""
            except StorageCorrupt as error:
                raise StorageCorrupt(f"{place.shown}: {error.what}", error.mend, digest=error.digest) from error
            return Content(data=data, stat=tree.stat(place, version), offset=offset)

        return await self._store.look(owner, get, snapshot=snapshot)

    async def describe(
        self, owner: str, path: str, *, tags: tuple[str, ...] | None = None,
        about: Mapping[str, str] | None = None, expect: int | None = None, author: str = "", key: str = "",
    ) -> Stat:  # fmt: skip
        """Replace the tags, the metadata, or both: a new version with the same content. Raises BadRequest."""
        parts = parse_inner(path)
        given = Meta(tags=_tags(tags or ()), about=_about(about or {}))

        def set_meta(change: Change) -> Stat:
            place = change.find(parts)
            change.check_version(place, expect)
            old = change.meta(place)
            meta = Meta(
                tags=old.tags if tags is None else given.tags, about=old.about if about is None else given.about
            )
            manifest, size = change.manifest(place) if place.kind == "file" else (None, 0)
            change.add_version(place, "describe", manifest=manifest, size=size, meta=meta)
            return change.stat(place)

        request = ("describe", path, tags, about and dict(about), expect)
        return await self._store.change(owner, Stat, set_meta, author=author, key=key, request=request)

    # -- names -------------------------------------------------------------------------------------

    async def stat(self, owner: str, path: str, *, follow: bool = True, snapshot: str = "") -> Stat:
        """What is at `path`."""
        parts = parse(path)
        return await self._store.look(
            owner, lambda tree: tree.stat(tree.find(parts, follow=follow)), snapshot=snapshot
        )

    async def list(
        self, owner: str, path: str = "/", *, cursor: str = "", limit: int | None = None, snapshot: str = ""
    ) -> Page:
        """The entries of a folder by name, from `cursor` on; links are shown as links."""
        parts = parse(path)

        def get(tree: Tree) -> Page:
            count = self._page(limit)
            places = tree.children(tree.folder(parts), cursor, count + 1)
            more = places[count - 1].name if len(places) > count else ""
            return Page(entries=tuple(map(tree.stat, places[:count])), cursor=more)

        return await self._store.look(owner, get, snapshot=snapshot)

    async def glob(
        self, owner: str, pattern: str, *, cursor: str = "", limit: int | None = None, snapshot: str = ""
    ) -> Page:
        """Everything that matches `pattern`: `*`, `?` and `[ab]` in a name, `**` for any number of folders."""
        parts = parse_inner(pattern)
        after = parse(cursor) if cursor else ()

        def get(tree: Tree) -> Page:
            count = self._page(limit)
            places = list(islice(tree.glob(parts, after), count + 1))
            more = show(places[count - 1].path) if len(places) > count else ""
            return Page(entries=tuple(map(tree.stat, places[:count])), cursor=more)

        return await self._store.look(owner, get, snapshot=snapshot)

    async def mkdir(
        self, owner: str, path: str, *, parents: bool = False, author: str = "", key: str = ""
    ) -> Stat:
        """A new folder; with `parents` also those above it, and one that is there already will do."""
        parts = parse_inner(path)

        def make(change: Change) -> Stat:
            there = change.look(parts)
            if parents and there is not None and there.kind == "dir":
                return change.stat(there)
            return change.stat(change.make_folder(parts, parents=parents))

        request = ("mkdir", path, parents)
        return await self._store.change(owner, Stat, make, author=author, key=key, request=request)

    async def link(self, owner: str, target: str, path: str, *, author: str = "", key: str = "") -> Stat:
        """A link at `path` that leads to `target` (from the top of the root the link is in), there or not."""
        parts, aim = parse_inner(path), show(parse(target))

        def make(change: Change) -> Stat:
            place = change.make(parts, "link")
            change.add_version(place, "link", target=aim)
            return change.stat(place)

        request = ("link", target, path)
        return await self._store.change(owner, Stat, make, author=author, key=key, request=request)

    async def move(
        self, owner: str, path: str, to: str, *, replace: bool = False, expect: int | None = None,
        author: str = "", key: str = "",
    ) -> Stat:  # fmt: skip
        """Give `path` the name `to`, history and all. `replace`: what is there goes to the bin."""
        source, target = parse_inner(path), parse_inner(to)

        def go(change: Change) -> Stat:
            place = change.find(source, follow=False)
            change.check_version(place, expect)
            _clear(change, place, target, replace=replace)
            return moves.move(change, place, target, parents=False)

        request = ("move", path, to, replace, expect)
        return await self._store.change(owner, Stat, go, author=author, key=key, request=request)

    async def copy(
        self, owner: str, path: str, to: str, *, replace: bool = False, snapshot: str = "", author: str = "",
        key: str = "",
    ) -> Stat:  # fmt: skip
        """Copy `path`, as it is now or in `snapshot`, to `to`: names only, the chunks are shared. Raises
        LimitExceeded for too big a folder."""
        source, target = parse(path), parse_inner(to)

        def go(change: Change) -> Stat:
            view = Tree(change.db, change.root, change.now, moment(change.db, change.root, snapshot))
            place = view.find(source, follow=False)
            _clear(change, place, target, replace=replace)
            return moves.copy(change, view, place, target)

        request = ("copy", path, to, replace, snapshot)
        return await self._store.change(owner, Stat, go, author=author, key=key, request=request)

    async def delete(
        self, owner: str, path: str, *, recursive: bool = False, expect: int | None = None, author: str = "",
        key: str = "",
    ) -> Binned:  # fmt: skip
        """Put `path` into the bin. A folder with something in it only with `recursive`."""
        parts = parse_inner(path)

        def go(change: Change) -> Binned:
            place = change.find(parts, follow=False)
            change.check_version(place, expect)
            if place.kind == "dir" and not recursive and change.children(place, limit=1):
                raise Conflict(f"{place.shown} is not empty.", "Say that you mean all of it (recursive).")
            return moves.delete(change, place)

        request = ("delete", path, recursive, expect)
        return await self._store.change(owner, Binned, go, author=author, key=key, request=request)

    def _page(self, limit: int | None) -> int:
        most = self._store.limits.page
        if limit is not None and not 1 <= limit <= most:
            raise BadRequest(
                f"A page has 1 to {most} entries.", "Ask for the next with the cursor.", param="limit"
            )
        return limit or most


def _clear(change: Change, place: Place, target: Parts, *, replace: bool) -> None:
    """With `replace`: put what is at `target` into the bin, unless it is, or holds, `place`."""
    there = change.look(target, follow=False)
    if there is None or not replace:
        return
    if change.within(place.node, there.node):
        raise Conflict(f"{place.shown} is in {there.shown}, or the same.", "Choose another place.", param="to")
    moves.delete(change, there)


def _tags(tags: tuple[str, ...]) -> tuple[str, ...]:
    if len(tags) > TAGS or any(not tag.strip() or len(tag.encode()) > 255 for tag in tags):
        raise BadRequest(f"At most {TAGS} tags of 1 to 255 bytes.", "Use metadata for more.", param="tags")
    return tuple(sorted(set(tags)))


def _about(about: Mapping[str, str]) -> dict[str, str]:
    if sum(len(name.encode()) + len(text.encode()) for name, text in about.items()) > ABOUT_BYTES:
        raise BadRequest(f"Metadata is at most {ABOUT_BYTES} bytes.", "Write a file instead.", param="about")
    return dict(sorted(about.items()))
