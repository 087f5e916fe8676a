"""Puts a proposed mapping into `pipeline.yaml`: under `files:`, everything else as it was. `b2b files check --add`."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path

import yaml

from b2b_pipeline.connectors.configured import load_config
from b2b_pipeline.errors import ConfigError
from b2b_pipeline.files.propose import Proposal

INDENT = "  "


def answered(proposal: Proposal, answers: Mapping[str, str]) -> Proposal:
    """The proposal with `key: "?"` answered: by the key (`zone`, `$`, a word of the file) or by the column's name."""
    text = proposal.text
    for key, answer in answers.items():
        given = f"[{answer}]" if key in ("won", "lost", "open", "values") else yaml.safe_dump(answer).split("\n")[0]
        text = re.sub(rf'((?<!\w){re.escape(key)}"?: \[?)"\?"(\]?)', lambda m, g=given: m[1].rstrip("[") + g, text)  # type: ignore[misc]
        text = re.sub(rf'^(\s*{re.escape(key)}: .*)"\?"', lambda m, g=given: m[1] + g, text, flags=re.M)  # type: ignore[misc]
    return Proposal(proposal.table, text)


def add(proposal: Proposal, path: Path) -> str:
    """Returns the mapping's name. Raises ConfigError, and changes nothing, when a `?` is left or it is not valid."""
    if proposal.table is None:
        raise ConfigError("there is nothing to add: the file feeds none of the tables")
    if proposal.questions:
        left = "\n".join(f"  {line}" for line in proposal.questions)
        raise ConfigError(f"answer what is left open, with `--set KEY=ANSWER` (`--set zone=Europe/Berlin`):\n{left}")
    config = load_config(path)
    text = path.read_text(encoding="utf-8-sig")
    [proposed] = yaml.safe_load(proposal.text)
    name = next(n for n in _names(proposed) if n not in config.files)
    lines = [line for line in proposal.text.splitlines() if not line.startswith("# Guessed")]
    lines[0] = f"{name}:"
    written = _inserted(text, lines)
    draft = path.with_name(f".{path.name}.new")
    try:
        draft.write_text(written, encoding="utf-8")
        shutil.copymode(path, draft)
        load_config(draft)
        os.replace(draft, path)
    except ConfigError as error:
        raise ConfigError(f"not added: {str(error).replace(str(draft), str(path))}") from None
    finally:
        draft.unlink(missing_ok=True)
    return name


def _names(proposed: str) -> Iterable[str]:
    yield proposed
    yield from (f"{proposed}_{number}" for number in range(2, 1000))


def _inserted(text: str, mapping: list[str]) -> str:
    """The configuration with a mapping at the end of `files:`. Raises ConfigError when that is written in one line."""
    node = yaml.compose(text, Loader=yaml.SafeLoader)
    pairs = node.value if isinstance(node, yaml.MappingNode) else []
    found = next(((key, value) for key, value in pairs if key.value == "files"), None)
    lines = text.splitlines()
    if found is None:
        return "\n".join([*lines, "", "files:", *_indented(mapping, INDENT), ""])
    key, block = found
    if isinstance(block, yaml.ScalarNode) and not block.value:
        end = key.start_mark.line + 1
        return "\n".join([*lines[:end], *_indented(mapping, INDENT), *lines[end:], ""])
    if not isinstance(block, yaml.MappingNode) or block.flow_style:
        raise ConfigError("`files:` is written in one line: write each mapping on lines of its own, then add")
    end = _last_line(block) + 1
    return "\n".join([*lines[:end], "", *_indented(mapping, " " * block.start_mark.column), *lines[end:], ""])


def _indented(lines: list[str], indent: str) -> list[str]:
    return [f"{indent}{line}" if line else line for line in lines]


def _last_line(node: yaml.Node) -> int:
    """The line of the last thing that is written in a node; comments and blank lines after it are not its own."""
    if isinstance(node, yaml.MappingNode) and node.value and not node.flow_style:
        return max(_last_line(part) for pair in node.value for part in pair)
    if isinstance(node, yaml.SequenceNode) and node.value and not node.flow_style:
        return max(_last_line(part) for part in node.value)
    return node.end_mark.line
