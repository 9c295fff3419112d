# Understudy on processors. TORCH_INDEX is the address of PyTorch's package index of CPU wheels; without it the image holds
# 5 GB of CUDA libraries that it does not use.
#
#   docker build --build-arg TORCH_INDEX=ADDRESS --tag understudy .
#   docker run --rm --user "$(id -u):$(id -g)" --volume "$PWD:/data" understudy train photos --unlabeled more --out runs/first
#
# There is no health check: a container runs one command and ends with it.
ARG PYTHON=3.13

FROM python:${PYTHON}-slim AS build
ARG TORCH_INDEX
RUN python -m venv /opt/understudy
RUN /opt/understudy/bin/pip install --no-cache-dir ${TORCH_INDEX:+--index-url "$TORCH_INDEX"} torch torchvision
WORKDIR /source
COPY pyproject.toml MANIFEST.in README.md LICENSE ./
COPY src src
RUN /opt/understudy/bin/pip install --no-cache-dir ".[zoo]"

FROM python:${PYTHON}-slim
COPY --from=build /opt/understudy /opt/understudy
# Any user may write to the home folder, which holds caches, since `docker run --user` names one that the image does not know;
# torch asks for its name, and takes USER.
RUN useradd --create-home --home-dir /var/lib/understudy --uid 1000 understudy && chmod 1777 /var/lib/understudy
ENV PATH=/opt/understudy/bin:$PATH HOME=/var/lib/understudy USER=understudy PYTHONUNBUFFERED=1
USER understudy
WORKDIR /data
ENTRYPOINT ["understudy"]
CMD ["--help"]
