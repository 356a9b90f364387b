"""One node: a file builds each subject. Names no concrete backend: that is `server.backends`."""
