"""Pruning: a smaller model cut out of a trained one, by what its channels and layers do on calibration texts.

`anatomy` says which tensor dimension counts what, `importance` measures, `plan` decides (data, no weights), `surgery`
cuts, `run` is the stage. The result is a stock Hugging Face model with the same class as its parent.
"""
