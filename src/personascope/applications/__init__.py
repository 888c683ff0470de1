"""What vectors are for: each application is a function over the ports."""
