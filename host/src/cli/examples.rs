//! Examples behind the help of the commands. A test parses each.

pub(super) const DATA_FETCH: &str = "\
Example:
  ocellus data fetch cifar10";

pub(super) const DATA_CHECK: &str = "\
Examples:
  # A folder of your own photos, with one subfolder per class
  ocellus data check photos/
  # Do they look like what a model was trained on?
  ocellus data check photos/ --against runs/mine";

pub(super) const DATA_PREVIEW: &str = "\
Example:
  ocellus data preview --data photos/ --set augment.rotate=15 --set augment.mixup=0.2";

pub(super) const TRAIN: &str = "\
Examples:
  # Your own photos: a part of a pretrained network, fine-tuned
  ocellus train --recipe models/photos/recipe.toml --data photos/ --out runs/mine \\
    --pretrained $(ocellus weights fetch efficientnet-lite0 --accept-short-checksum)
  # Resume an interrupted run
  ocellus train --resume --out runs/mine
  # Train a finished run of 60 epochs for 60 more, with a warm restart
  ocellus train --resume --out runs/mine --epochs 120 --set 'train.restarts=[60]'
  # Fine-tune weights that were pretrained on ImageNet
  ocellus train --model efficientnet-lite0 --pretrained $(ocellus weights fetch efficientnet-lite0)
  # Knowledge distillation: a small network learns to agree with a large one, or with an ensemble
  ocellus train --model cnn --teacher runs/three --temperature 4 --set distill.views=8
  # A linear probe on an external ONNX backbone, from four augmented views of each image
  ocellus train --backbone net.onnx --data photos/ --set transfer.cache-views=4";

pub(super) const MODEL_SHOW: &str = "\
Examples:
  ocellus model show efficientnet-b0 --img-size 96
  # Its first 12 blocks under a head
  ocellus model show efficientnet-lite0 --img-size 112 --set net.truncate=12";

pub(super) const MODEL_IMPORT: &str = "\
Examples:
  ocellus model import resnet18.onnx --labels imagenet.txt
  # Trained on pixels from -1 to 1, for images of any size
  ocellus model import mobilenet.onnx --img-size 96 --mean 0.5,0.5,0.5 --std 0.5,0.5,0.5";

pub(super) const WEIGHTS_FETCH: &str = "\
Example:
  ocellus weights fetch efficientnet-lite0";

pub(super) const QUANTIZE: &str = "\
Example:
  ocellus quantize runs/mine --report sqnr.svg";

pub(super) const EXPORT: &str = "\
Examples:
  ocellus export runs/mine
  # Try all calibration methods and correct biases
  ocellus export runs/mine --calib auto --set quant.bias-correction=true
  # The same scores in fewer instructions, as far as the board has flash for it
  ocellus export runs/mine --optimize speed --board weact-h743";

pub(super) const EVAL: &str = "\
Examples:
  ocellus eval runs/mine
  ocellus eval runs/mine --with float
  # Confusion matrix, classes and calibration as pictures
  ocellus eval runs/mine --plots plots/";

pub(super) const COMPARE: &str = "\
Example:
  ocellus compare runs/mine models/cnn-cifar10 --csv table.csv --plot pareto.svg";

pub(super) const ENSEMBLE: &str = "\
Examples:
  # Three runs of one recipe with different seeds, by the mean of their probabilities
  ocellus ensemble runs/a runs/b runs/c --out runs/three
  # A linear meta-learner on what they say
  ocellus ensemble runs/a runs/b runs/c --method stack --out runs/stacked";

pub(super) const REPORT: &str = "\
Examples:
  ocellus report runs/mine
  # A comparison, with the figures as a table too
  ocellus report runs/mine models/cnn-cifar10 --out comparison.html --csv figures.csv";

pub(super) const RUN: &str = "\
Examples:
  ocellus run runs/mine photo.jpg
  # On an emulated board, as its camera sees the photo
  ocellus run models/cnn-cifar10 --on sim photo.jpg";

pub(super) const VALIDATE: &str = "\
Examples:
  ocellus validate runs/mine --on sim --images all
  # A real board, or a dry run of the same without one
  ocellus validate runs/mine --on board --board weact-h743
  ocellus validate runs/mine --on board --board weact-h743 --probe simulated";

pub(super) const CARD: &str = "\
Example:
  ocellus card runs/mine";

pub(super) const ANALYZE: &str = "\
Example:
  ocellus analyze runs/mine --board weact-h743 --plot memory.svg";

pub(super) const PROFILE: &str = "\
Examples:
  ocellus profile runs/mine --board mps3-an547
  ocellus profile runs/mine --on board --board weact-h743";

pub(super) const BENCH_ENGINE: &str = "\
Example:
  ocellus bench engine";

pub(super) const BENCH_HOST: &str = "\
Example:
  ocellus bench host";

pub(super) const BENCH_TRAIN: &str = "\
Example:
  ocellus bench train --model resnet20 --img-size 32 --batch-size 128";

pub(super) const FIRMWARE: &str = "\
Examples:
  ocellus firmware --board weact-h743
  # Smaller: without kernels that the model does not need
  ocellus firmware --board weact-h743 --ops-of runs/mine";

pub(super) const FLASH: &str = "\
Examples:
  ocellus flash runs/mine --board weact-h743
  # Update the model only
  ocellus flash runs/mine --board weact-h743 --model
  # A dry run without a board
  ocellus flash runs/mine --board weact-h743 --probe simulated";

pub(super) const MONITOR: &str = "\
Examples:
  ocellus monitor runs/mine --board weact-h743
  # With the camera's frames
  ocellus monitor runs/mine --board weact-h743 --picture
  # An emulated board that looks at your photos, or through a webcam (Linux)
  ocellus monitor runs/mine --on sim --source photos/ --picture
  ocellus monitor runs/mine --on sim --source /dev/video0";

pub(super) const CAPTURE: &str = "\
Example:
  ocellus capture --board weact-h743 --label cup --count 50";

pub(super) const DOCTOR: &str = "\
Example:
  ocellus doctor --install";

pub(super) const SERVE: &str = "\
Examples:
  # Models and runs of this folder, on http://127.0.0.1:8080
  ocellus serve
  # One model, judged with your own photos
  ocellus serve runs/mine --data photos/";

pub(super) const SWEEP_RUN: &str = "\
Examples:
  # The same as: ocellus sweep models/sweep-shapes/study.toml
  ocellus sweep run models/sweep-shapes/study.toml
  # A second worker of the same study, on another machine that shares the folder
  ocellus sweep run study.toml --out /shared/study --threads 8";

pub(super) const SWEEP_STATUS: &str = "\
Example:
  ocellus sweep status sweeps/study";

pub(super) const SWEEP_BEST: &str = "\
Example:
  ocellus sweep best study.toml --board weact-h743 --out recipe.toml";

pub(super) const SWEEP_REPORT: &str = "\
Example:
  ocellus sweep report study.toml --out report.html --plots plots/";

pub(super) const SWEEP_SCRIPT: &str = "\
Examples:
  # Four workers on this machine
  ocellus sweep script study.toml --for parallel --workers 4 --threads 2
  # 64 jobs of a cluster
  ocellus sweep script study.toml --for slurm --workers 64 --threads 8 --out /shared/study";
