"""How a data set lies on the disk: which files are its tables, how they are read, and where the clips are that they name."""
