"""What PyTorch computes of a clip: pretrained encoders, transcripts, voices, the columns of torch200."""
