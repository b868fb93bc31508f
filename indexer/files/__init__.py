"""Files from outside: opened, decoded in processes of their own, as planes of pixels."""
