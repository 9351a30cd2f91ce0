#!/usr/bin/env python3
"""Print {"encoder_ms": median} for one 224x224 view through an encoder, single thread.

usage: bench_encoder.py ENCODER.onnx      (needs onnxruntime and numpy)
"""
import json, statistics, sys, time

import numpy as np
import onnxruntime as ort

WARM_UP, RUNS = 5, 30

options = ort.SessionOptions()
options.intra_op_num_threads = 1
options.inter_op_num_threads = 1
session = ort.InferenceSession(sys.argv[1], options, providers=["CPUExecutionProvider"])
view = {"pixel_values": np.random.default_rng(0).standard_normal((1, 3, 224, 224), dtype=np.float32)}
times = []
for _ in range(WARM_UP + RUNS):
    start = time.perf_counter()
    session.run(["image_embeds"], view)
    times.append((time.perf_counter() - start) * 1000)
print(json.dumps({"encoder_ms": statistics.median(times[WARM_UP:])}))
