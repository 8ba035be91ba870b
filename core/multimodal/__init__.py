"""Fine-tuning: an audio encoder and a text encoder, fused, with low-rank adapters (Hu et al. 2021).

``config`` says what is trained, ``frames`` keeps what is read of each clip, ``data`` makes batches, ``model`` is the network,
``train`` fits it fold by fold, ``fitted`` loads what was fitted. ``model`` and ``train`` import torch: they are imported by what
trains or predicts alone.
"""
