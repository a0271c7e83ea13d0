"""Options of another kind, and options that do not go together."""

from collections.abc import Callable

from tests.faults.fault import Case, Fault, Faults

FAULTS = Faults("Options")

FAULTS.add_options(
    [
        (
            "A batch size is missing",
            "datamodule.batch_size=null",
            "`datamodule.batch_size` should be",
        ),
        (
            "A batch size is 0",
            "datamodule.batch_size=0",
            "a positive integer, or auto, got 0",
        ),
        (
            "A batch size is a fraction",
            "datamodule.batch_size=1.5",
            "integer, or auto, got 1.5",
        ),
        (
            "A number of workers is text",
            "datamodule.num_workers=abc",
            "`datamodule.num_workers` should be an integer of at least 0, or auto, got 'abc'",
        ),
        (
            "A number of workers is negative",
            "datamodule.num_workers=-1",
            "or auto, got -1",
        ),
        (
            "A number of workers is a fraction",
            "datamodule.num_workers=1.5",
            "or auto, got 1.5",
        ),
        (
            "A switch is neither on nor off",
            "model.flip=maybe",
            "`model.flip` should be true or false, got 'maybe'",
        ),
        (
            "Distractors are kept maybe",
            "datamodule.distractors=maybe",
            "should be true or false, got",
        ),
        (
            "A report is wanted maybe",
            "analysis.report=maybe",
            "should be true or false, got 'maybe'",
        ),
        (
            "Embeddings are kept maybe",
            "embeddings.keep=maybe",
            "should be true or false, got",
        ),
        (
            "A data folder is missing",
            "datamodule.data_dir=null",
            "`datamodule.data_dir` should be a path, got None",
        ),
        (
            "A data folder is a list",
            "datamodule.data_dir=[a,b]",
            "should be a path, got ['a', 'b']",
        ),
        (
            "A checkpoint is a list",
            "ckpt_path=[a,b]",
            "`ckpt_path` should be a path, or null, got ['a', 'b']; several go with -m and commas",
        ),
        (
            "A checkpoint is a number",
            "ckpt_path=5",
            "`ckpt_path` should be a path, or null, got 5",
        ),
        (
            "A checkpoint is empty text",
            "ckpt_path=''",
            "`ckpt_path` should be a path, or null, got ''",
        ),
        (
            "Tags are a number",
            "tags=5",
            "`tags` should be a list, such as [first,second], or null",
        ),
        (
            "Tags are one text",
            "tags=abc",
            "`tags` should be a list, such as [first,second], or null, got 'abc'",
        ),
        (
            "Tags are required and missing",
            "extras.enforce_tags=true",
            "`tags` should name the run because extras.enforce_tags is set, got none",
        ),
        (
            "No neighbour votes",
            "model.k=0",
            "`model.k` should be a positive integer, got 0",
        ),
        (
            "A fraction of neighbours votes",
            "model.k=1.5",
            "should be a positive integer, got 1.5",
        ),
        (
            "A vote goes with another distance",
            "model.vote=weighted model.distance=euclidean",
            "`vote` should be majority with distance euclidean, got weighted",
        ),
        (
            "A confidence is above 1",
            "analysis.confidence=2",
            "`analysis.confidence` should be a number between 0 and 1, got 2",
        ),
        (
            "A confidence is text",
            "analysis.confidence=high",
            "a number between 0 and 1, got 'high'",
        ),
        (
            "A seed is text",
            "seed=abc",
            "`seed` should be an integer from 0 to 4294967295, got 'abc'",
        ),
        (
            "A seed is negative",
            "seed=-1",
            "should be an integer from 0 to 4294967295, got -1",
        ),
        (
            "An image size is one number",
            "preprocessing.size=5",
            "`size` should be a height and a width in pixels, got 5",
        ),
        (
            "An image size is 0",
            "preprocessing.size=[0,0]",
            "height and a width in pixels, got (0, 0)",
        ),
        (
            "An image size is too large for the memory",
            "preprocessing.size=[1000000,1000000]",
            "`preprocessing.size` should suit the network, which does not take images of 1000000 x",
        ),
        (
            "A mean has two channels",
            "preprocessing.mean=[1,2]",
            "`mean` should be three numbers, one for a channel, got (1, 2)",
        ),
        (
            "A mean comes without a deviation",
            "preprocessing.mean=[0.5,0.5,0.5]",
            "`mean` and a positive `std` should go together",
        ),
        (
            "An interpolation does not exist",
            "preprocessing.interpolation=best",
            "`interpolation` should be one of ('bilinear', 'bicubic'), got 'best'",
        ),
        (
            "A crop is more than the image",
            "preprocessing.crop_fraction=2",
            "`crop_fraction` should be in (0, 1], got 2",
        ),
        (
            "A shard has no images",
            "embeddings.shard_images=0",
            "`embeddings.shard_images` should be a positive integer, got 0",
        ),
        (
            "There is nothing to resume",
            "embeddings.keep=true resume=nowhere",
            "No manifest.json in nowhere/embeddings",
        ),
        (
            "An evaluation without embeddings is resumed",
            "resume=nowhere",
            "`resume` should go with images and embeddings.keep=true",
        ),
        (
            "A backbone does not exist",
            "+model.backbone=nothing",
            "`backbone` should name a network of torchvision.models, got 'nothing'",
        ),
        (
            "A network has no such option",
            "+model.colour=red",
            "argument 'colour'",
        ),
        (
            "A class of data does not exist",
            "datamodule._target_=src.nowhere.Data",
            "Error loading 'src.nowhere.Data':",
        ),
        (
            "A class of a network does not exist",
            "model._target_=src.nowhere.Network",
            "Error loading 'src.nowhere.Network':",
        ),
        (
            "A class of a network is none",
            "model._target_=builtins.dict ckpt_path=null",
            "`model` should have a `_target_` that makes a RetrievalModule, got {",
        ),
        (
            "A class of a network does not go with a checkpoint",
            "model._target_=builtins.dict",
            "`ckpt_path` should go with model=checkpoint, got <checkpoint>: other networks take",
        ),
        (
            "A class of a trainer is none",
            "trainer._target_=builtins.dict",
            "`trainer` should have a `_target_` that makes a Trainer, got {",
        ),
        (
            "A callback is none",
            "+callbacks.x=5",
            "`x` should have a `_target_` that makes a Callback, got 5",
        ),
        (
            "A class of a callback does not exist",
            "+callbacks.x._target_=src.nowhere.Callback",
            "Error loading 'src.nowhere.Callback':",
        ),
        (
            "A class of a logger does not exist",
            "+logger.x._target_=src.nowhere.Logger",
            "Error loading 'src.nowhere.Logger':",
        ),
        (
            "There are no devices",
            "trainer.devices=0",
            "`Trainer(devices=0)` value is not a valid input",
        ),
        (
            "A number of devices is text",
            "trainer.devices=abc",
            "should be an int > 0",
        ),
        (
            "A kind of device does not exist",
            "trainer.accelerator=abc",
            "invalid accelerator name",
        ),
        (
            "There are no machines",
            "trainer.num_nodes=0",
            "`num_nodes` must be a positive integer, but got 0",
        ),
        (
            "A precision does not exist",
            "trainer.precision=abc",
            "Precision 'abc' is invalid",
        ),
        (
            "A strategy does not exist",
            "trainer.strategy=abc",
            "invalid strategy name",
        ),
        (
            "A trainer has no such option",
            "+trainer.nonsense=1",
            "unexpected keyword argument 'nonsense'",
        ),
        (
            "Only some batches take part",
            "+trainer.limit_test_batches=1",
            "`trainer` should let all samples take part, got limit_test_batches=1",
        ),
        (
            "The output folder cannot be written",
            "paths.output_dir=/proc/nowhere",
            "No such file or directory: '/proc/nowhere'",
        ),
    ],
)

FAULTS.add_options(
    [
        (
            "A training has no epochs",
            "trainer.max_epochs=0",
            "`trainer.max_epochs` should be a positive integer, or -1 for ever, or null, got 0",
        ),
        (
            "A number of epochs is text",
            "trainer.max_epochs=abc",
            "or null, got 'abc'",
        ),
        (
            "A training has no steps",
            "trainer.max_steps=0",
            "`trainer` should train and validate at least once, got max_steps=0",
        ),
        (
            "A training has no batches",
            "trainer.limit_train_batches=0",
            "got limit_train_batches=0",
        ),
        (
            "A training is never validated",
            "trainer.limit_val_batches=0",
            "got limit_val_batches=0",
        ),
        (
            "A training is a trial",
            "+trainer.fast_dev_run=true",
            "got fast_dev_run",
        ),
        (
            "A measure to watch does not exist",
            "monitor=foo",
            "`monitor` should be one of ['train/loss', 'train/acc', 'val/loss', 'val/acc_best',"
            " 'val/acc'], got 'foo'",
        ),
        (
            "A measure to watch is not for these data",
            "monitor=val/nn_acc",
            "'val/acc'], got 'val/nn_acc'",
        ),
        (
            "A learning rate is text",
            "model.lr=fast",
            "`model.lr` should be a number of at least 0, got",
        ),
        (
            "A learning rate is negative",
            "model.lr=-1",
            "should be a number of at least 0, got -1",
        ),
        (
            "A learning rate is too great",
            "model.lr=1e30 trainer.max_epochs=9",
            "`model.lr` should be smaller than 1e+30: the loss is nan in epoch <n>, step <n>",
        ),
        (
            "A weight decay is text",
            "model.wd=abc",
            "`model.wd` should be a number of at least 0, got",
        ),
        (
            "A margin is text",
            "model.margin=abc",
            "`model.margin` should be a number of at least 0",
        ),
        (
            "A scale is 0",
            "model.scale=0",
            "`model.scale` should be a positive number, got 0",
        ),
        (
            "An embedding has no width",
            "model.embedding_size=0",
            "`model.embedding_size` should be a positive integer, got 0",
        ),
        (
            "A warm-up is negative",
            "model.warmup_epochs=-1",
            "`model.warmup_epochs` should be an integer of at least 0, got -1",
        ),
        (
            "A schedule does not exist",
            "model.lr_schedule=linear",
            "`lr_schedule` should be one of ('constant', 'cosine'), got 'linear'",
        ),
        (
            "A cosine schedule has no end",
            "model.lr_schedule=cosine trainer.max_epochs=-1 trainer.max_steps=2",
            "`lr_schedule` cosine needs trainer.max_epochs, got -1 or null",
        ),
        (
            "Initial weights do not exist",
            "initial_weights=zero",
            "`initial_weights` should be one of ('imagenet', 'random'), got 'zero'",
        ),
        (
            "A mode of watching does not exist",
            "callbacks.best_checkpoint.mode=best",
            "`mode` can be min, max but got best",
        ),
        (
            "A training is tested maybe",
            "test=maybe",
            "`test` should be true or false, got 'maybe'",
        ),
        (
            "A step of logging is text",
            "trainer.log_every_n_steps=abc",
            "an integer of at least 0, got",
        ),
    ],
    task="train",
)

FAULTS.add_options(
    [
        (
            "No evaluation to compare is named",
            "",
            "`baseline` should name an evaluation, got none: python compare.py baseline=<folder"
            " or run id>",
        ),
        (
            "An evaluation to compare does not exist",
            "baseline=nowhere candidate=nowhere",
            "`baseline` should be the folder of an evaluation<text> got nowhere: there is no "
            "such folder",
        ),
        (
            "A run is compared without MLflow",
            f"baseline={'a' * 32} candidate=nowhere",
            "choose logger=mlflow, whose tracking_uri says where runs are",
        ),
    ],
    task="compare",
)

FAULTS.add_options(
    [
        (
            "No run to record is named",
            "",
            "`run` should name a folder, got none: python record.py",
        ),
        (
            "There is no run to record",
            "run=nowhere",
            "`run` should be the folder of a run whose loggers failed",
        ),
    ],
    task="record",
)


@FAULTS.add(
    "A run to record is damaged", "<file> should be what a run wrote, is it damaged?", task="record"
)
def _(case: Case) -> list[str]:
    (case.folder / "unrecorded.json").write_text('{"calls": [')
    return [f"run={case.folder}"]


@FAULTS.parametrize()
def test_fault(fault: Fault, provoke: Callable[[Fault], str]) -> None:
    provoke(fault)
