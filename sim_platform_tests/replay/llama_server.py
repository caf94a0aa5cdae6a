"""llama.cpp's own HTTP server over the embedded model, on loopback."""

from collections.abc import Iterator
from contextlib import contextmanager

from sim_platform.replay.providers.local import weights
from sim_platform.replay.requests import LOCAL_MODEL

KEY = "sk-of-the-test"
CONTEXT_TOKENS = 512  # of a request


@contextmanager
def llama_server() -> Iterator[str]:
    """Its base_url; it wants KEY, and answers two requests at a time."""
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = str(weights(LOCAL_MODEL))
    params.hostnames, params.port = ["127.0.0.1"], 0
    params.n_parallel, params.n_ctx = 2, 2 * CONTEXT_TOKENS
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 1
    params.api_keys, params.verbosity = [KEY], -1
    server = xllamacpp.Server(params)
    yield f"{server.listening_address}/v1"
    del server  # ends it
