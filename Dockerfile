# The image of a node on Kubernetes (docs/cluster.md): Python, the pinned packages and the project.
FROM python:3.12-slim

# wget: what KubeRay's health checks of a pod call.
RUN apt-get update && apt-get install -y --no-install-recommends wget && rm -rf /var/lib/apt/lists/*
ENV NVIDIA_DRIVER_CAPABILITIES=compute,utility

WORKDIR /adassl
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY adassl adassl
COPY pipelines pipelines
COPY tune_spaces tune_spaces
RUN pip install --no-cache-dir --constraint constraints.txt '.[pipelines]' boto3

RUN useradd --create-home ray
USER ray
