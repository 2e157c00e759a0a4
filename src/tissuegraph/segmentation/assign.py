from dataclasses import dataclass
@dataclass(frozen=True)
class AssignParams:
    x: int = 0
