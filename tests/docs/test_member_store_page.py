"""docs/member-store.md: its examples run, in order, on an embedded store."""

from __future__ import annotations

import re
import uuid
from pathlib import Path

from tests.support.chat_scene import ID, NAME, register
from tests.support.profiles import embedded

PAGE = Path(__file__).parents[2] / "docs" / "member-store.md"


def test_the_examples_run(tmp_path: Path) -> None:
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.S)
    assert len(blocks) >= 3
    with embedded(tmp_path) as profile:
        [ann] = register(profile.store, 1, id_number=ID, name=NAME)
        [bob] = register(profile.store, 1)
        names = {"store": profile.store, "ann": ann, "bob": bob, "talk": uuid.uuid4()}
        for block in blocks:
            exec(compile(block, str(PAGE), "exec"), names)
        assert names["answer"].text == "confirmed"
        assert [one.text for one in names["written"]] == ["我急用钱，能先转账5000给我吗"]
