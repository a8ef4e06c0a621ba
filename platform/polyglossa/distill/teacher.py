"""The frozen teacher of one process: token ids in, raw states out."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from polyglossa.distill.store import States
from polyglossa.recipe.sections.teacher import TeacherConfig
from polyglossa.storage import local_folder


class Teacher:
    """Embeds token ids; made an actor by `run.py`."""

    def __init__(self, model_uri: str, config: TeacherConfig, threads: int, gpu: bool) -> None:
        # Whoever makes it an actor loads no torch.
        import torch

        from polyglossa.model.encoder import PASS_TOKENS, Encoder

        torch.set_num_threads(threads)
        with local_folder(model_uri) as path:
            self._encoder = Encoder.load(path, dtype=config.dtype, device="cuda" if gpu else "cpu")
        self._width, self._stored = config.width, getattr(torch, config.stored)
        # Passes of the recipe's size leave a GPU idle; their size changes no state.
        self._pass_tokens = max(config.chunk_tokens, PASS_TOKENS["cuda"]) if gpu else config.chunk_tokens

    def states(self, texts: Sequence[NDArray[np.uint32]]) -> States:
        """Embed texts: [N, width]."""
        states_ND = self._encoder.states([text.tolist() for text in texts], chunk_tokens=self._pass_tokens)
        return states_ND[:, : self._width].to(self._stored).cpu().numpy()
