# The comparison with asyncio and uvloop, in a container. How to run it is in README.md, under "In a container".
# container/rehearse carries these instructions out without a container engine.

FROM debian:trixie-slim AS build
RUN apt-get update -q && apt-get install -q -y --no-install-recommends \
    gcc libc6-dev liburing-dev pkg-config python3-dev python3-venv
WORKDIR /uringloop
COPY LICENSE README.md build_ffi.py pyproject.toml setup.py ./
COPY uringloop uringloop
COPY perf perf
RUN python3 -m venv /venv && /venv/bin/pip install -q --no-cache-dir '.[perf]' && /venv/bin/pip uninstall -q -y pip
RUN /venv/bin/python -m perf.build

FROM debian:trixie-slim
RUN apt-get update -q && apt-get install -q -y --no-install-recommends liburing2 python3 wrk \
    && rm -rf /var/lib/apt/lists/* /var/cache/apt/*
COPY --from=build /venv /venv
COPY --from=build /uringloop/perf /uringloop/perf
RUN install -d -o nobody /report
VOLUME /report
WORKDIR /uringloop
USER nobody
ENTRYPOINT ["/venv/bin/python", "-m", "perf.compare", "--output", "/report"]
