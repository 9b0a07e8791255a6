"""The operator against a real API server, next to the same objects written straight to it.

``__main__`` prints the figures, ``crowd`` makes and times them; ``site`` is where they are made: the control plane, a
namespace a run, the operator as a process of its own; ``watching`` sees when what was asked for is there.
"""
