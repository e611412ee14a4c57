"""Mutants of the HTTP layer: each lets somebody get what is somebody else's, or is too old."""

from __future__ import annotations

from .mutant import Mutant

MUTANTS = [
    Mutant(
        "Cookie ignored",
        "nobody is served a response that was made for somebody's cookies",
        "http/rules/request_verdict.py",
        "ask",
        'if wary and b"cookie" in names',
        'if wary and b"cookie-" in names',
        "tests/http/test_request_verdict.py",
    ),
    Mutant(
        "Authorization ignored",
        "nobody is served a response that was made for somebody's credentials",
        "http/rules/request_verdict.py",
        "ask",
        'if b"authorization" in names:',
        'if b"authorization-" in names:',
        "tests/http/test_request_verdict.py",
    ),
    Mutant(
        "Set-Cookie stored",
        "a response that sets a cookie is nobody else's",
        "http/rules/response_verdict.py",
        "_unsafe",
        "set-cookie",
        "set-cookie-",
        "tests/http/test_response_verdict.py",
    ),
    Mutant(
        "host left out of the key",
        "two hosts share no response",
        "http/rules/key.py",
        "primary",
        '            host.encode("utf-8", "surrogateescape"),\n',
        "",
        "tests/http/test_key.py::test_every_part_of_a_key_counts",
    ),
    Mutant(
        "Vary ignored",
        "a response is for requests that say the same in the fields it varies by",
        "http/rules/fields.py",
        "vary",
        "    return tuple(sorted(names))",
        "    return ()",
        "tests/http/test_fields.py::test_vary_names_fields_or_everything",
    ),
    Mutant(
        "Vary: * stored",
        "what depends on more than the request is not stored",
        "http/rules/response_verdict.py",
        "judge_response",
        '    if names is None:\n        return ResponseVerdict(store=False, why="Vary: *")\n',
        "    if names is None:\n        names = ()\n",
        "tests/http/test_response_verdict.py",
    ),
    Mutant(
        "no-store stored",
        "what must not be stored is not",
        "http/rules/response_verdict.py",
        "judge_response",
        "    if why:\n        return ResponseVerdict(store=False, why=why, private=said",
        "    if not why and False:\n        return ResponseVerdict(store=False, why=why, private=said",
        "tests/http/test_response_verdict.py",
    ),
    Mutant(
        "what a middleware noted ignored",
        "what depends on more than the key is not stored",
        "http/engine/taint.py",
        "WatchedScope._note",
        "self.reads.add(NOTED + name)",
        "pass",
        "tests/http/test_threats.py::test_every_way_to_read_who_asks_is_seen",
    ),
    Mutant(
        "a part of a field for the field",
        "what depends on more than the key is not stored",
        "http/engine/planning.py",
        "_is_whole",
        "return isinstance(said, str) and sent",
        "return True or sent",
        "tests/http/test_whose.py::test_a_part_of_a_field_in_the_key_is_not_the_field",
    ),
]
