"""`watch`: a verdict for every new file of a folder."""

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Final

from defectune.library.arguments import Place, as_path, checked
from defectune.library.options import Option
from defectune.library.progress import output_console, shown

if TYPE_CHECKING:
    from training import Reporter

HANDOFF_PATIENCE_S: Final = 30.0
"""How long a watch that ends by itself waits for its verdicts to be delivered."""
_DELIVERY: Final = Option("Delivery", "URL")


@checked
def watch(
    bundle: Annotated[Place, Option(metavar="BUNDLE")],
    folder: Annotated[Place, Option(metavar="FOLDER")],
    output: Annotated[Place, Option(metavar="FOLDER", named=True)],
    *,
    once: bool = False,
    interval: Annotated[float, Option(metavar="SECONDS", least=0.01)] = 0.5,
    patience: Annotated[float, Option(metavar="SECONDS", least=0)] = 5.0,
    webhook: Annotated[Sequence[str], _DELIVERY] = (),
    mqtt: Annotated[Sequence[str], _DELIVERY] = (),
    threads: Annotated[int, Option(least=0)] = 0,
    provider: str = "cpu",
    progress: "bool | Reporter" = True,
) -> int:
    """Give a verdict for every new file of a folder, one JSON line each; goes on after a kill.

    Args:
        bundle: A bundle's file.
        folder: Folder where images arrive.
        output: Folder of verdicts.jsonl.
        once: Stop when every file that is there has a verdict.
        interval: Seconds between two looks at the folder.
        patience: Seconds until a file that cannot be read is an error.
        webhook: Address that gets each verdict as JSON by POST; kept while away. Can be repeated.
        mqtt: Topic that gets each verdict: mqtt://HOST/TOPIC, or mqtts:// for TLS, with
            USER:PASSWORD@ before HOST and :PORT after it where needed. Can be repeated.
        threads: Threads that compute one image; 0 is one for each core.
        provider: Engine that computes the graphs: cpu, cuda, tensorrt or openvino.
        progress: True prints a line for each verdict, False nothing; or a reporter of your own.

    Returns:
        The number of deliveries that wait for the next watch.

    Raises:
        UsageError: an argument of a wrong type, or an address that cannot be one.
        DefectuneError: no bundle, or a folder that cannot be watched.
    """
    from deployment import open_bundle
    from deployment.handoff import Handoff
    from deployment.receivers import MqttBroker, Receiver, Webhook, require_distinct
    from deployment.watching import VERDICTS_FILE, WatchOptions
    from deployment.watching import watch as follow

    place = as_path(output, what="output")
    receivers: list[Receiver] = [Webhook(url) for url in webhook]
    receivers += [MqttBroker(url) for url in mqtt]
    require_distinct(receivers)
    opened = open_bundle(as_path(bundle, what="bundle"), threads=threads, provider=provider)
    verdicts = place / VERDICTS_FILE
    handoffs: list[Handoff] = []
    options = WatchOptions(interval, patience, once)
    left, finished = 0, False
    with shown(progress) as reporter:
        # Verdicts are the result and no progress: they belong to the standard output.
        say = _print if progress is True else reporter.say
        say(f"Verdicts: {verdicts}")

        def tell(row: dict[str, object]) -> None:
            score = row["score"]
            value = f" {score:.3f}" if isinstance(score, float) else ""
            say(f"{row['file']}: {row['verdict'] or row['error']}{value}")

        def begin() -> None:
            # Once the output is locked: two watches would deliver everything twice.
            handoffs.extend(Handoff(verdicts, receiver, say=say) for receiver in receivers)

        try:
            follow(opened, as_path(folder, what="folder"), place, options, on_row=tell, begun=begin)
            finished = True
        finally:
            until = time.monotonic() + (HANDOFF_PATIENCE_S if finished else 0)
            for handoff in handoffs if not finished else ():
                handoff.stop()
            for handoff in handoffs:
                left += handoff.close(patience_s=max(0.0, until - time.monotonic()))
            if left:
                # Also after Ctrl-C, which is how a watch without `once` ends.
                some = "1 delivery waits" if left == 1 else f"{left} deliveries wait"
                say(f"{some} for the next watch with the same --output and addresses.")
    return left


def _print(text: str) -> None:
    output_console().print(text, markup=False)
