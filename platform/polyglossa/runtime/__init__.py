"""Run-time services: the Ray session, the console, the progress board, memory, ports, collectives."""
