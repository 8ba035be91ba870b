"""One module a kind of job: what it takes in, what it does, what comes of it."""
