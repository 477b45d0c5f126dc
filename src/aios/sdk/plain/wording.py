"""Wordings that say beyond doubt which step a clause is. Regular expressions, in the order they are tried in;
clauses come in lower case, without "please" and the like, names of files as "«", texts in quotes as "“"."""

from __future__ import annotations

BACK = frozenset({"rollback", "undelete"})
"""The compiler tells them apart by what is in the bin."""
MAKES = frozenset({"folder", "write"})
_UNSHARE, _SHARES, _SHARE = frozenset({"unshare"}), frozenset({"shares"}), frozenset({"share"})
_COUNT, _FIND, _GROUP = frozenset({"count"}), frozenset({"find"}), frozenset({"group"})
_COPY, _MOVE, _DELETE = frozenset({"copy"}), frozenset({"move"}), frozenset({"delete"})
_SUMMARISE, _APPEND, _FOLDER = frozenset({"summarise"}), frozenset({"append"}), frozenset({"folder"})
_WRITE, _TEXT = frozenset({"write"}), frozenset({"write", "append"})
_LINK = r"(?:links?|shares?|access|sharing)\b"
_BIN = r"(?:the |my )?(?:bin|trash|rubbish)\b"
_LOOKS = r"^(?!find|search|look|locate|list|which|where|what|show|how)"
_BY = (
    r"(?:topics?|themes?|subjects?|tags?|labels?|types?|kinds?|formats?|extensions?|endings?|months?|contents?"
    r"|similarity|meaning)\b"
)

RULES: tuple[tuple[frozenset[str], tuple[str, ...]], ...] = (
    (_UNSHARE, (
        r"\b(?:unshare|unpublish|revoke)\b", r"\bprivate again\b", r"\bmake\b.*\bprivate\b",
        r"\b(?:stop|cease|quit|end|no longer|don'?t|not|\w+n't)(?: be| being| the)? (?:shar\w+|public)\b",
        r"\b(?:take (?:back|down)|cancel|kill|disable|remove|delete|withdraw|invalidate|close|turn off|pull)"
        rf" (?:(?!about|on|with|mention)\w+ ){{0,3}}?{_LINK}",
        rf"\b(?:take|pull|turn)\b.*\b{_LINK} (?:back|down|off)\b",
        r"\b(?:nobody|no one|noone)\b.*\b(?:see|read|access|open|view)\b",
    )),
    (_SHARES, (
        r"^(?:what|which|whats|what's|list|show|display|see|do|is|are|am)\b"
        r"(?!.*\b(?:in|from|inside) (?:the )?shared\b)"
        r".*\b(?:shared(?! (?:folder|dir))|sharing|shares|i share"
        r"|(?:active|open|public|valid|my|existing) links)\b",
        r"^(?:what|which|is|are)\b.*\bpublic\b", r"^(?:what|which)\b.*\blinks\b",
        r"^(?:what|who)\b.*\baccess to\b",
    )),
    (_SHARE, (
        r"^(?:share|publish)\b", r"^send\b(?!.*\b(?:folder|directory|archive)\b)", r"^links? (?:to|for)\b",
        r"^make\b.*\b(?:public|(?:accessible|available|readable|visible) (?:to|for))\b",
        r"\bpublic\b.*\b(?:until|till)\b", r"^(?:let|allow) (?!me\b)\w.*"
        r"\b(?:see|read|access|view|open|download|look)\b", r"\bgive\b.*\baccess\b",
        r"\bto be able to (?:open|read|see|access|view)\b",
        r"^can (?!you|i|we)\w+ (?:get|have|see|read|open|access)\b", r"^show\b.*\bpassword\b",
        r"^show (?!me\b|us\b).*\bto (?:my |a |the )?\w+ (?:for|until|till)\b",
        r"^(?!find|search|look|locate|add|append|write|delete|remove|move|copy|which|what|how|put).*"
        r"\b(?:(?:a|an|one|public|temporary|share|download) (?:\w+ )?(?:links?|url)\b|links? (?:to|for)\b)",
    )),
    (_COUNT, (
        r"^(?:(?:how|hw) (?:many|much|mny)|count|(?:the )?(?:total )?number of)\b",
        r"^what(?:'s| is) the (?:total )?(?:number|count)\b",
    )),
    (BACK, (
        r"^(?:undelete|recover|unbin|untrash)\b",
        _LOOKS + r"(?!delete|empty).*\b(?:out of|from) " + _BIN, r"\bback$", r"\bas of\b",
        r"\bby (?:accident|mistake)\b", r"\baccidentally\b",
        _LOOKS + r"(?!did|was|were).*\b(?:i|was|were|got) (?:deleted|erased|trashed)\b",
        r"^(?:restore|revert|reset|rollback|rewind|undo|go back)\b", r"^return\b.*\bto\b", r"\bagain$",
        r"^(?:roll|bring|get|set|put|return|switch|take|turn|change|give|make)\b.*\bback\b",
        r"\b(?:as|how|what|the way|like) (?:it|they) (?:was|were|looked|read|stood)\b",
        r"\b(?:versions?|revisions?|edits?|steps?) (?:back|ago|earlier)\b", r"\btwo back\b",
        r"^(?:discard|drop|forget|throw away|take back|cancel|reverse|remove) .*\b(?:last|latest|recent|my|the)"
        r" (?:\w+ )?(?:edits?|changes?|modifications?)\b",
        _LOOKS + r"(?!copy|delete|share|rename).*\b(?:previous|prior|earlier|older|original|first|second|third)"
        r" (?:version|state|revision|text|wording)\b",
        _LOOKS + r"(?!copy|delete|share|rename).*\b(?:version|revision) (?:\d|one|two|three)\b",
    )),
    (_GROUP, (
        r"^(?:group|cluster|categori[sz]e|classify|organi[sz]e|bundle|partition|arrange|sort|split|divide"
        r"|separate|tidy)\b",
        r"^how (?:would|could|can|do|should) (?:you|i|we) (?:group|cluster|sort|organi|arrange|classify|split)",
        r"\b(?:folder|directory|group|pile)s? (?:per|for (?:each|every)|each)\b",
        rf"\bby (?:the |their |file )*{_BY}", r"\bfolders? by\b", r"\b(?:belongs?|go|goes) together\b",
        r"\bare (?:alike|similar|related|about the same)\b", r"\bsimilar\b.*\btogether\b",
        r"^how do\b.*\bcluster$",
        rf"\b(?:under|per) (?:its |their |the )?{_BY}", r"\b(?:groups|clusters|piles|categories) of\b",
        r"\b(?:into|in|make|form|build) (?:\w+ )?(?:groups|clusters|piles|categories)\b",
    )),
    (_COPY, (
        r"^(?:copy|cp|duplicate|clone|back ?up)\b", r"\b(?:duplicate|backup) of\b",
        r"^(?:an? )?(?:second |new |spare |extra )?copy of\b",
        r"^(?:make|create|keep|save|put|place|store|give)\b(?: \w+){0,3} cop(?:y|ies) of\b",
    )),
    (_DELETE, (
        rf"\b(?:in|into|to) {_BIN}", r"\bcan go$", r"^lose\b",
        r"^i (?:don'?t|do not|no longer) (?:need|want)\b",
        r"^(?:delete|remove|erase|trash|bin|discard|rm|wipe|purge|dump|dispose|scrap|get rid|throw|toss|clear"
        r"|clean|ditch|empty (?!file|note|doc|folder|dir))\b",
    )),
    (_MOVE, (
        r"^(?:move|mv|relocate|transfer|shift|rename|archive)\b", r"^change the names?\b", r"^call « «",
        r"(?:->|=>)",
        r"\bshould go (?:to|in|into|under)\b", r"\bto be (?:called|named|renamed)\b",
        r"\b(?:new|the) name of\b.*\bto\b", r"^give\b.*\b(?:new )?name\b",
    )),
    (_SUMMARISE, (
        r"^(?:summar\w+|sum up|sum\b|condense|tl;?dr|recap|digest|abridge|shorten|boil|brief me|explain"
        r"|describe)",
        _LOOKS + r"(?!append).*\b(?:summary|summaries|recap|gist|synopsis|overview|rundown|digest)"
        r" (?:of|for|on|about|from)\b",
        r"^(?:give|get|make|write|show|send|create|provide)\b.*\b(?:summary|overview|rundown|recap)\b",
        r"^(?!find|search|look|locate|list|which|where|append).*(?:\b(?:gist|tl;?dr|synopsis|key points"
        r"|main points|short version|in short|in brief|briefly|nutshell|takeaways?|essence)\b"
        r"|\bin (?:a|one|two|three|a few|a couple of|\d)(?: or \w+)? "
        r"(?:short )?(?:sentences?|words?|lines?)\b)",
        r"^what (?:do|does|did) (?!i\b|we\b).*\b(?:says?|want|cover|argue|discuss|conclude|claim|need"
        r"|mean|propose|tell)\b",
        r"^(?:what|whats|what's) .*\babout$", r"^tell me (?:about|what)\b", r"^what (?:matters|is important)",
        r"\bwhat (?:it|they|he|she) (?:says?|is about)\b",
    )),
    (_APPEND, (
        r"^append\b", r"^(?:(?:one|another|an?) )?(?:more |new )?(?:line|entry|item)\b",
        r"^(?:at|to) the (?:end|bottom) of\b",
        r"^(?:add|put|write|stick|insert|tack|place)\b.*\b(?:(?:end|bottom) of|(?:a|one|new|this|the) line)\b",
        r"^(?:add|tack) (?!(?:an? |the |new |empty |another )*(?:file|note|document|«)"
        r"|.*\b(?:folder|directory)\b)"
        r".*\b(?:to|in|into|onto)\b",
    )),
    (_FOLDER, (
        r"^(?:make|create|mkdir|new|add|start|set up|open|an?)\b(?: (?!file|note|«)[\w,/-]+){0,5}?"
        r" (?:sub)?(?:folders?|director(?:y|ies)|dirs?)\b", r"^(?:mkdir|set up|(?:sub)?folders?|directory)\b",
    )),
    (MAKES, (
        r"^(?:create|make|start|new|touch|begin|open|an? (?:new|empty|blank)|empty|(?:in it|inside(?: it)?"
        r"|there) an?|an? (?:file|note))\b",
    )),
    (_WRITE, (r"^(?:overwrite|replace)\b", r"\bshould (?:now |only )*(?:say|read|contain)\b")),
    (_TEXT, (
        r"^(?:write|save|jot|note|set|type|insert)\b", r"^(?:put|place|stick|store|drop|file)\b.*“",
    )),
    (_MOVE, (
        r"^(?:put|place|gather|collect|file|store|stash|take|bring|drop|combine|merge|get|send)\b.*"
        r"\b(?:to|in|into|inside|under|together)\b", r"\bbelongs? (?:in|into|to|under)\b",
    )),
    (_FIND, (
        r"^(?:find|search|look|locate|list|ls|show|display|which|where|who|get me|fetch"
        r"|pull up|dig (?:up|out))\b",
        r"^(?:i'm |i am )?looking for\b", r"^(?:most recent|recent|got any|see|does anything|do any)\b",
        r"^is .*\bsomewhere$", r"^(?:give|get|bring) me (?:all|every|the|my|any)\b",
        r"^(?:what|whats|what's) (?:is |are |do i have |do we have |have i got )?"
        r"(?:in|inside|under|there|new)\b",
        r"^what (?:changed|has changed|have i|did i|files|notes|was)\b",
        r"^(?:any|anything|do i have|do we have|is there|are there|have i|did i)\b",
        r"^(?:all|every|everything|files?|notes?|documents?|the|my|our|newest|latest|oldest|largest|biggest"
        r"|smallest)\b(?!.*\b(?:back|again|should|must|needs?|belongs?)\b)",
    )),
)  # fmt: skip
