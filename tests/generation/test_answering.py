"""Batches of prompts: their room, and who shares what is kept of a prompt."""

import pytest

from dlm_jax.generation import answering


@pytest.mark.parametrize(("longest", "programs"), [(128, 4), (4096, 24), (32768, 36)])
def test_prompts_of_many_lengths_share_few_programs(longest, programs):
  rooms = {length: answering.room_for(length) for length in range(1, longest + 1)}
  assert len(set(rooms.values())) == programs
  for length, room in rooms.items():
    assert length <= room < max(length + answering.ROOM, 1.25 * length)
  assert answering.room_for(0) == 0


@pytest.mark.parametrize(("batch_size", "num", "wanted"), [(8, 3, (6, 3)), (8, 12, (8, 4))])
def test_the_answers_to_a_prompt_share_what_is_kept_of_it(batch_size, num, wanted):
  assert answering.shared_batch(batch_size, num) == wanted
  size, copies = wanted
  prompts = [prompt for prompt in range(5) for _ in range(num)]
  for begin in range(0, len(prompts), size):
    batch = prompts[begin : begin + size]
    batch += batch[-1:] * (size - len(batch))
    assert all(
      len(set(batch[first : first + copies])) == 1 for first in range(0, len(batch), copies)
    )
