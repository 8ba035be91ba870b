"""Neural feature sets: pretrained encoders, transcripts, voices, the columns of torch200."""
