# The program with exactly the versions of uv.lock, on a CPU or a GPU (PyTorch's wheels bring CUDA).
#
#   docker build -t defectune .
#   docker run --rm -v "$PWD:/data" defectune demo
#   docker run --rm -v "$PWD:/data" defectune train segment /data/out
FROM python:3.11-slim-bookworm AS build
COPY --from=ghcr.io/astral-sh/uv:0.8 /uv /bin/uv
ENV UV_COMPILE_BYTECODE=1 UV_LINK_MODE=copy UV_PROJECT_ENVIRONMENT=/opt/defectune
WORKDIR /src
# The dependencies alone first: they change less often than the source.
COPY pyproject.toml uv.lock ./
RUN uv sync --frozen --no-dev --no-install-project
COPY . .
RUN uv sync --frozen --no-dev --no-editable

FROM python:3.11-slim-bookworm
# What OpenCV's wheel with windows links to, even where no window is opened.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends libgl1 libglib2.0-0 libxcb1 \
    && rm -rf /var/lib/apt/lists/*
COPY --from=build /opt/defectune /opt/defectune
ENV PATH=/opt/defectune/bin:$PATH
RUN useradd --create-home --uid 1000 defectune && mkdir /data && chown defectune /data
USER defectune
WORKDIR /data
# An image in which either of these fails is not made.
RUN defectune doctor && defectune demo --output /tmp/demo && rm -rf /tmp/demo
ENTRYPOINT ["defectune"]
CMD ["doctor"]
