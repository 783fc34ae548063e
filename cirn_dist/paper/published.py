"""The paper's numbers: CIRN's and the source-only rows of Tables 1 and 2, Table 3, Table 4; all in percent."""

from __future__ import annotations

from typing import Literal

Task = Literal["gta5", "synthia"]

# Tables 1 and 2 in the paper's order of columns; None for classes that SYNTHIA does not have.
SOURCE_ONLY: dict[Task, tuple[float | None, ...]] = {
    "gta5": (75.8, 16.8, 77.2, 12.5, 21.0, 25.5, 30.1, 20.1, 81.3, 24.6,
             70.3, 53.8, 26.4, 49.9, 17.2, 25.9, 6.5, 25.3, 36.0),
    "synthia": (55.6, 23.8, 74.6, 9.2, 0.2, 24.4, 6.1, 12.1, 74.8, None,
                79.0, 55.3, 19.1, 39.6, None, 23.3, None, 13.7, 25.0),
}  # fmt: skip
CIRN: dict[Task, tuple[float | None, ...]] = {
    "gta5": (91.5, 48.7, 85.2, 33.1, 26.0, 32.3, 33.8, 34.6, 85.1, 43.6,
             86.9, 62.2, 28.5, 84.6, 37.9, 47.6, 0.0, 35.0, 36.0),
    "synthia": (85.8, 40.4, 80.4, 4.7, 1.8, 30.8, 16.4, 18.6, 80.7, None,
                80.4, 55.2, 26.3, 83.9, None, 43.8, None, 18.6, 34.3),
}  # fmt: skip

# mIoU over 19 classes for GTAV, over 16 and 13 for SYNTHIA.
MEANS: dict[Task, dict[str, tuple[float, ...]]] = {
    "gta5": {"Source only": (36.6,), "CIRN": (49.1,)},
    "synthia": {"Source only": (33.5, 38.6), "CIRN": (43.9, 51.1)},
}

# Table 3: mIoU of stage 2 by K, 0 to 4.
BY_K: dict[Task, tuple[float, ...]] = {
    "gta5": (44.5, 45.0, 46.1, 45.1, 44.6),
    "synthia": (39.9, 41.1, 41.5, 41.7, 40.8),
}

# Table 4: mIoU by what is in; the titles are this project's rows.
ABLATION: dict[Task, dict[str, float]] = {
    "gta5": {
        "Source only": 36.6,
        "CIR": 42.7,
        "ASS": 43.6,
        "CIR + ASS": 46.1,
        "ASS + ST": 44.2,
        "CIR + ASS + ST": 49.1,
    },
    "synthia": {
        "Source only": 33.5,
        "CIR": 39.7,
        "ASS": 39.5,
        "CIR + ASS": 41.5,
        "ASS + ST": 40.8,
        "CIR + ASS + ST": 43.9,
    },
}
