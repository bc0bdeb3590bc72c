"""What the client keeps on disk, so that it can go on after a restart."""

import json
import os
import uuid
from dataclasses import asdict, dataclass, field


@dataclass
class State:
    """`pending` has the batches that were numbered and not acknowledged: their sequence numbers, and
    the offset in the file of readings where each ends. The first begins at `offset`."""

    session: str = field(default_factory=lambda: f"sample-{uuid.uuid4()}")
    site_request_id: str = field(default_factory=lambda: str(uuid.uuid4()))
    site_id: int = 0
    acknowledged: int = 0
    offset: int = 0
    pending: list[tuple[int, int]] = field(default_factory=list)

    @classmethod
    def load(cls, path):
        """What `save` wrote, or a new state that is on disk already."""
        if os.path.exists(path):
            with open(path, encoding="utf-8") as file:
                return cls(**json.load(file))
        state = cls()
        state.save(path)
        return state

    def save(self, path):
        """Replaces the file at once: after a crash there is the old one or the new one."""
        with open(f"{path}.new", "w", encoding="utf-8") as file:
            json.dump(asdict(self), file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(f"{path}.new", path)
