"""Who may read what: the whole access model, pure. The catalogue loads the facts; this module decides.

A principal is `user:U`, `group:G` or `*`, which means every active user. Entries allow or deny a principal on a
document or on a folder; any deny beats any allow. A role gives verbs and never reading, so it does not occur here.
"""

import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from core.domain import EVERYONE, Effect
from core.errors import InvalidInput, InvalidName

OWNER = "owner"  # The user of the owner's key: part of every embedded catalogue, and no import removes it.
USER, GROUP = "user:", "group:"
MAX_NAME = 255
MAX_FOLDER = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Directory:
    """What a closure is computed from; a part of a tenant's directory is enough if it holds all that is reachable.

    `users` maps a user's name to whether it is suspended; `memberships` maps a member (`user:U` or `group:G`) to the
    names of the groups that it belongs to directly.
    """

    users: Mapping[str, bool]
    memberships: Mapping[str, frozenset[str]]


@dataclass(frozen=True, slots=True, order=True)
class Entry:
    """Allows or denies a principal."""

    principal: str
    effect: Effect


@dataclass(frozen=True, slots=True, kw_only=True)
class EffectiveAccess:
    """What holds for a document after inheritance; groups are never expanded into their members."""

    allow: frozenset[str]
    deny: frozenset[str]


def closure(directory: Directory, principals: Iterable[str]) -> frozenset[str]:
    """Return every principal that these are: themselves, all groups they belong to at any depth, and `*`.

    Nothing given, or a suspended user among them: the empty set, which reads nothing. Users and groups that the
    directory does not know are themselves and `*`. Cycles of groups end.
    """
    given = frozenset(principals)
    if not given or any(directory.users.get(name.removeprefix(USER), False) for name in given if is_user(name)):
        return frozenset()
    reached = set(given)
    waiting = list(given)
    while waiting:
        for name in directory.memberships.get(waiting.pop(), ()):
            group = GROUP + name
            if group not in reached:
                reached.add(group)
                waiting.append(group)
    return frozenset(reached | {EVERYONE})


def effective(own: Sequence[Entry], inherited: Sequence[Entry], *, inherit: bool, uploader: str) -> EffectiveAccess:
    """Return what holds for a document with these entries; `uploader` is a principal.

    Without `inherit` the inherited entries, denies included, do not count. With no allow entry at all, own or
    inherited, the uploader alone is allowed.
    """
    counted = (*own, *inherited) if inherit else tuple(own)
    allow = frozenset(entry.principal for entry in counted if entry.effect == "allow")
    deny = frozenset(entry.principal for entry in counted if entry.effect == "deny")
    return EffectiveAccess(allow=allow or frozenset({uploader}), deny=deny)


def may_read(access: EffectiveAccess, closure: frozenset[str]) -> bool:
    """Return whether this closure may read: any deny beats any allow, and an empty closure reads nothing."""
    return not closure.isdisjoint(access.allow) and closure.isdisjoint(access.deny)


def is_user(principal: str) -> bool:
    """Return whether the principal is a user."""
    return principal.startswith(USER)


def parse_principal(text: str) -> str:
    """Return the principal in its one spelling: `user:U`, `group:G` or `*`.

    :raises InvalidInput: it is none of these.
    """
    stripped = text.strip()
    if stripped == EVERYONE:
        return EVERYONE
    for kind in (USER, GROUP):
        if stripped.startswith(kind):
            return kind + parse_name(stripped.removeprefix(kind))
    raise InvalidInput(f"{_shown(text)} is no principal. Write user:NAME, group:NAME, or * for every active user.")


def parse_name(text: str) -> str:
    """Return the name of a user or group in its one spelling (NFC, no white space around it).

    :raises InvalidInput: it is empty, longer than 255 characters, holds control characters, or looks like a principal.
    """
    name = unicodedata.normalize("NFC", text.strip())
    if not name or len(name) > MAX_NAME:
        raise InvalidInput(f"{_shown(text)} is no name: a name has 1 to {MAX_NAME} characters.")
    if _unprintable(name):
        raise InvalidInput(f"{_shown(text)} is no name: it holds control characters.")
    if name == EVERYONE or name.startswith((USER, GROUP)):
        raise InvalidInput(f"{_shown(text)} is no name: give it without `user:` or `group:`, and not as `*`.")
    return name


def normalise_folder(folder: str) -> str:
    """Return the folder in its one spelling: NFC, `/` between names, none at its ends; "" is the root.

    :raises InvalidName: it climbs with `..`, holds control characters, or is longer than 1,024 characters.
    """
    segments = _segments(folder)
    normal = "/".join(segments)
    if ".." in segments or _unprintable(normal) or len(normal) > MAX_FOLDER:
        raise InvalidName(
            f"{_shown(folder)} is no folder: write a path such as a/b, at most {MAX_FOLDER} characters, without `..`."
        )
    return normal


def ancestors(folder: str) -> list[str]:
    """Return the folders whose entries a folder inherits, the root first and itself last: `a/b` -> "", `a`, `a/b`."""
    segments = _segments(folder)
    return ["/".join(segments[:depth]) for depth in range(len(segments) + 1)]


def _segments(folder: str) -> list[str]:
    return [part for part in unicodedata.normalize("NFC", folder).split("/") if part not in {"", "."}]


def _unprintable(text: str) -> bool:
    return any(unicodedata.category(character) in {"Cc", "Cs"} for character in text)


def _shown(text: str) -> str:
    return repr(text if len(text) <= 80 else text[:77] + "...")  # noqa: PLR2004 - what fits a line of an error
