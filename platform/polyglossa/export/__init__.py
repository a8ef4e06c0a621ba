"""A member in other formats: ONNX, OpenVINO, GGUF, a plain folder, the hub; each held to the encoder."""
