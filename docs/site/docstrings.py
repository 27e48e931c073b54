"""The library's docstrings, prose with `name: what it is`, as Markdown in which each name has a line of its own."""

from __future__ import annotations

import re

import griffe

SENTENCE = r"(?:^|(?<=[.:;] ))"  # where one may begin


class Docstrings(griffe.Extension):
    """Turn each docstring into Markdown when it is read."""

    def on_object(self, *, obj: griffe.Object, **_) -> None:
        """Rewrite the docstring of `obj`, whose arguments or members are the names to look for."""
        if obj.docstring:
            obj.docstring.value = markdown(obj.docstring.value, names_of(obj))


def names_of(obj: griffe.Object) -> set[str]:
    """Return what a docstring explains: the arguments of a function or of a class, and a class's attributes."""
    parameters = getattr(obj, "parameters", ())
    attributes = obj.attributes if obj.is_class else ()
    return {parameter.name for parameter in parameters} | set(attributes)


def markdown(docstring: str, names: set[str]) -> str:
    """Return Markdown for a docstring: a list item for each name, a paragraph for what is returned and raised."""
    return "\n\n".join(paragraph(text, names) for text in docstring.split("\n\n"))


def paragraph(text: str, names: set[str]) -> str:
    """Return one paragraph; indented as a whole it is a block of code, equations mostly, and stays as it is."""
    if text.startswith("    "):
        return text
    text = re.sub(r"\s*\n\s*", " ", text).replace("_", r"\_").replace("[", r"\[")
    text = re.sub(r"`[^`]*`", lambda code: code[0].replace("\\", ""), text)
    name = "(?:" + "|".join(re.escape(name.replace("_", r"\_")) for name in sorted(names)) + ")"
    if names:
        text = re.sub(rf"{SENTENCE}({name}(?:, {name})*)( \([^)]*\))?: ", r"\n- **\1**\2: ", text)
        text = text.replace("\n- ", "\n\n- ", 1)  # a list begins after an empty line
    return re.sub(r"(?<=\. )(?=(?:Returns|Raises|After) )", "\n\n", text)
