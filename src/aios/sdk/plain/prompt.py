"""What a model is shown: the plan language by examples, what is in the tree, and the command."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

from aios.sdk.plain.plan import (
    AnyStep,
    Append,
    Copy,
    Count,
    Delete,
    Find,
    Folder,
    Group,
    Move,
    Rollback,
    Share,
    Shares,
    Summarise,
    Undelete,
    Unshare,
    Write,
    encoded,
)
from aios.syscalls import Message

SYSTEM = (
    "You turn a command about files into steps. Copy the words of the command.\n"
    "find: which files. count: how many files. folder: make a folder. write: make a file with a text. "
    "append: add a line to a file. move: move or rename files. copy. delete. undelete: get a deleted "
    "file back. rollback: go back to an old version of a file. share: make a link. unshare: stop a "
    "link. shares: what is shared. group: sort files into groups by topic, tag, type or month; "
    "folders: true when the files are to be put into folders. summarise: say briefly what files say."
)

EXAMPLES: tuple[tuple[str, tuple[AnyStep, ...]], ...] = (
    ("search for songs about winter", (Find("songs about winter"),)),
    ("what changed in lectures since Friday?", (Find("lectures since Friday"),)),
    ("show everything tagged work", (Find("everything tagged work"),)),
    ("which photos are from last month?", (Find("photos are from last month"),)),
    ("where is my map of the zoo", (Find("map of the zoo"),)),
    ("number of photos tagged beach", (Count("photos tagged beach"),)),
    ("make a directory named trips/france", (Folder("trips/france"),)),
    ("create folders red and blue in paint", (Folder("red in paint"), Folder("blue in paint"))),
    ("create plan.txt in school with the words: start early", (Write("plan.txt in school", "start early"),)),
    ("an empty note song.md please", (Write("song.md"),)),
    ("overwrite the rules with 'no running'", (Write("the rules", "no running"),)),
    ("append \"buy a tent\" to the camping list", (Append("the camping list", "buy a tent"),)),
    ("move all songs tagged slow to music/calm", (Move("all songs tagged slow", "music/calm"),)),
    ("change the name of draft.md to essay.md", (Move("draft.md", "essay.md"),)),
    ("gather what mentions chess in one place", (Move("what mentions chess", "one place"),)),
    ("get the txt files out of lab and put them into old", (Move("txt files out of lab", "old"),)),
    ("duplicate the essay as essay-two.md", (Copy("the essay", "essay-two.md"),)),
    ("remove all drafts older than a year", (Delete("all drafts older than a year"),)),
    ("get rid of the broken song", (Delete("the broken song"),)),
    ("throw the sketches from May out", (Delete("the sketches from May"),)),
    ("I lost the poem, I erased it by mistake", (Undelete("the poem"),)),
    ("undo the last edit of song.md", (Rollback("song.md", "the last edit"),)),
    ("I liked the essay from two weeks ago more, bring it back", (Rollback("the essay", "two weeks ago"),)),
    ("put essay.md back to version 4", (Rollback("essay.md", "version 4"),)),
    ("the timetable as it was on 2 May, please", (Rollback("the timetable", "on 2 May"),)),
    ("share the photos folder until Sunday", (Share("the photos folder", "until Sunday"),)),
    ("I want to show the essay to Kim for 5 hours, password is moon", (Share("the essay", "5 hours", "moon"),)),
    ("links for song.md and the rules", (Share("song.md"), Share("the rules"))),
    ("take back the link to the essay", (Unshare("the essay"),)),
    ("list what is shared", (Shares(),)),
    ("sort the songs into 4 folders by mood", (Group("the songs", "topic", 4, True),)),
    ("show groups of the photos by tag", (Group("the photos", "tag", 0, False),)),
    ("file the lectures by month", (Group("the lectures", "month", 0, True),)),
    ("put lab in folders by kind of file", (Group("lab", "type", 0, True),)),
    ("what does the essay say in short?", (Summarise("the essay"),)),
    ("sum up the two lectures on light in light.md", (Summarise("the two lectures on light", "light.md"),)),
)  # fmt: skip
REPAIR = "That can't be done: {error}\n{shown}Give other steps for: {command}"


def messages(command: str, shown: str = "") -> list[Message]:
    """The conversation that asks for the plan of `command`; `shown`: lines about the tree."""
    return [*_examples(), _user(command, shown)]


def repair(asked: Sequence[Message], answer: str, error: str, command: str, shown: str) -> list[Message]:
    """The conversation that asks for another plan."""
    again = REPAIR.format(error=error, shown=shown, command=command)
    return [*asked, Message(role="assistant", content=answer), Message(role="user", content=again)]


@cache
def _examples() -> tuple[Message, ...]:
    turns = [Message(role="system", content=SYSTEM)]
    for command, steps in EXAMPLES:
        turns += [_user(command, ""), Message(role="assistant", content=encoded(steps))]
    return tuple(turns)


def _user(command: str, shown: str) -> Message:
    return Message(role="user", content=f"{shown}Command: {command}")
