# SIA Pose on the CPU: images, videos, exports.
#   docker build -t sia-pose .
#   docker run --rm -v "$PWD:/data" --user "$(id -u):$(id -g)" sia-pose predict photo.jpg
# PyTorch's own index has builds without CUDA, which are 4 GB smaller: --build-arg PIP_EXTRA_INDEX_URL=ADDRESS
FROM python:3.12-slim
ARG PIP_INDEX_URL PIP_EXTRA_INDEX_URL
ENV HOME=/tmp PYTHONUNBUFFERED=1

WORKDIR /src
COPY pyproject.toml README.md ./
COPY extras/LICENSE extras/LICENSE
COPY sia sia
COPY weights weights
# The lower bounds are those of pyproject.toml.
# hadolint ignore=DL3013
RUN pip install --no-cache-dir ".[onnx,video]" && rm -rf /src/*

RUN useradd --uid 1000 sia && mkdir /data && chown sia /data
USER 1000
WORKDIR /data
ENTRYPOINT ["sia"]
CMD ["--help"]
