"""What is composed of stages: whole runs, and the commands that start them."""
