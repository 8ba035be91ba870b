"""What work runs on: processes, devices, stored vectors, folders of weights."""
