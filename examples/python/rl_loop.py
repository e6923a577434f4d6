"""A plain loop of reinforcement learning: a group of attempts for each problem, each attempt tried in a Sandbox of its own.

usage: python3 rl_loop.py POOL
"""

import asyncio
import random
import sys

from arl_sandbox import AsyncClient, AsyncSandbox

PROBLEMS = [(a, b) for a in range(2, 4) for b in range(2, 4)]
GROUP = 4


def propose(problem: tuple[int, int], rng: random.Random) -> str:
    """In place of a model: right in half of the cases."""
    return f"echo $(({problem[0]} {rng.choice('+*')} {problem[1]}))"


async def reward(sandbox: AsyncSandbox, attempt: tuple[tuple[int, int], str]) -> float:
    """Runs an attempt. What fails by the infrastructure's fault is tried again in another Sandbox, and is no reward of 0."""
    (a, b), script = attempt
    done = await sandbox.commands.run(script, timeout=10)
    return float(done.ok and done.stdout.strip() == str(a * b))


async def main(pool: str, client: AsyncClient) -> list[float]:
    """One step: the mean reward of each group."""
    rng = random.Random(0)
    attempts = [(problem, propose(problem, rng)) for problem in PROBLEMS for _ in range(GROUP)]
    rewards = await client.map(attempts, reward, pool=pool, concurrency=4)
    groups = [rewards[at : at + GROUP] for at in range(0, len(rewards), GROUP)]
    print(f"{len(attempts)} attempts, commands took {client.timings.command.p50:.3f} s (median)")
    return [sum(group) / GROUP for group in groups]


if __name__ == "__main__":
    print(asyncio.run(main(sys.argv[1], AsyncClient())))
