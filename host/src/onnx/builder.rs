//! The parts that both kinds of ONNX graph are made of.

use ocellus_shared::{Op, Shape, Window};
use tract_onnx::pb::attribute_proto::AttributeType;
use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::pb::tensor_shape_proto::{Dimension, dimension};
use tract_onnx::pb::type_proto::{Tensor, Value};
use tract_onnx::pb::{AttributeProto, GraphProto, NodeProto, TensorProto, TensorShapeProto, TypeProto, ValueInfoProto};

/// Collects the nodes and constants of a graph.
#[derive(Default)]
pub(super) struct Builder {
    graph: GraphProto,
}

impl Builder {
    /// Adds a node whose one output, and itself, are called `output`; gives that name back.
    pub fn node(&mut self, op_type: &str, inputs: &[&str], output: &str, attribute: Vec<AttributeProto>) -> String {
        self.graph.node.push(NodeProto {
            op_type: op_type.to_owned(),
            name: output.to_owned(),
            input: inputs.iter().map(|&name| name.to_owned()).collect(),
            output: vec![output.to_owned()],
            attribute,
            ..NodeProto::default()
        });
        output.to_owned()
    }

    pub fn i8s(&mut self, name: String, dims: &[usize], values: &[i8]) -> String {
        self.constant(name, DataType::Int8, dims, bytemuck::cast_slice(values).to_vec())
    }

    pub fn i32s(&mut self, name: String, dims: &[usize], values: &[i32]) -> String {
        self.constant(name, DataType::Int32, dims, values.iter().flat_map(|v| v.to_le_bytes()).collect())
    }

    pub fn i64s(&mut self, name: String, values: &[i64]) -> String {
        self.constant(name, DataType::Int64, &[values.len()], values.iter().flat_map(|v| v.to_le_bytes()).collect())
    }

    pub fn f32s(&mut self, name: String, dims: &[usize], values: &[f32]) -> String {
        self.constant(name, DataType::Float, dims, values.iter().flat_map(|v| v.to_le_bytes()).collect())
    }

    fn constant(&mut self, name: String, data_type: DataType, dims: &[usize], raw_data: Vec<u8>) -> String {
        let dims = dims.iter().map(|&d| d as i64).collect();
        let name_of = name.clone();
        let tensor = TensorProto { name, dims, data_type: data_type as i32, raw_data, ..TensorProto::default() };
        self.graph.initializer.push(tensor);
        name_of
    }

    /// Makes a vector of a feature map, `(batch, n, 1, 1)`, in the board's order of elements.
    pub fn flatten(&mut self, x: &str, shape: Shape, output: &str) -> String {
        let rows = self.i64s(format!("{output}/shape"), &[0, shape.len() as i64, 1, 1]);
        if shape.pixels() == 1 {
            return self.node("Reshape", &[x, &rows], output, vec![]);
        }
        let x = self.node("Transpose", &[x], &format!("{output}/hwc"), vec![ints("perm", &[0, 2, 3, 1])]);
        self.node("Reshape", &[&x, &rows], output, vec![])
    }

    /// Tells readers the type of an intermediate value.
    pub fn describe(&mut self, name: &str, data_type: DataType, shape: Shape) {
        self.graph.value_info.push(value_info(name, data_type, &map_dims(shape)));
    }

    /// The finished graph from `image` to `outputs`, `(batch, classes)` each.
    pub fn finish(mut self, image: (DataType, Shape), outputs: &[(&str, DataType)], classes: usize) -> GraphProto {
        self.graph.name = "ocellus".to_owned();
        self.graph.input.push(value_info("image", image.0, &map_dims(image.1)));
        let outputs = outputs.iter().map(|&(name, data_type)| value_info(name, data_type, &[classes]));
        self.graph.output.extend(outputs);
        self.graph
    }
}

fn map_dims(shape: Shape) -> [usize; 3] {
    [shape.c, shape.h, shape.w].map(usize::from)
}

/// A value of any batch size whose other dimensions are `dims`.
fn value_info(name: &str, data_type: DataType, dims: &[usize]) -> ValueInfoProto {
    let batch = dimension::Value::DimParam("batch".to_owned());
    let dims = dims.iter().map(|&d| dimension::Value::DimValue(d as i64));
    let dim = std::iter::once(batch).chain(dims);
    let dim = dim.map(|value| Dimension { value: Some(value), ..Dimension::default() }).collect();
    let tensor = Tensor { elem_type: data_type as i32, shape: Some(TensorShapeProto { dim }) };
    let value = Some(Value::TensorType(tensor));
    let r#type = Some(TypeProto { value, ..TypeProto::default() });
    ValueInfoProto { name: name.to_owned(), r#type, ..ValueInfoProto::default() }
}

pub(super) fn int(name: &str, i: i64) -> AttributeProto {
    AttributeProto { name: name.to_owned(), r#type: AttributeType::Int as i32, i, ..AttributeProto::default() }
}

pub(super) fn float(name: &str, f: f32) -> AttributeProto {
    AttributeProto { name: name.to_owned(), r#type: AttributeType::Float as i32, f, ..AttributeProto::default() }
}

pub(super) fn ints(name: &str, values: &[i64]) -> AttributeProto {
    let (r#type, ints) = (AttributeType::Ints as i32, values.to_vec());
    AttributeProto { name: name.to_owned(), r#type, ints, ..AttributeProto::default() }
}

/// The attributes of a window.
pub(super) fn window(window: Window) -> Vec<AttributeProto> {
    let [kernel, stride] = [window.kernel, window.stride].map(|pair| pair.map(i64::from));
    vec![ints("kernel_shape", &kernel), ints("strides", &stride), ints("pads", &window.pad.map(i64::from))]
}

/// `op` with a stride of 1 on each axis on which its window has only one place: tract cannot run all strides there.
pub(super) fn without_idle_strides(mut op: Op, input: Shape) -> Op {
    if let Op::Conv { window, .. } | Op::Depthwise { window } | Op::MaxPool { window } | Op::AvgPool { window } =
        &mut op
    {
        for (axis, size) in [input.h, input.w].into_iter().enumerate() {
            let pads = u16::from(window.pad[axis]) + u16::from(window.pad[axis + 2]);
            if size + pads == u16::from(window.kernel[axis]) {
                window.stride[axis] = 1;
            }
        }
    }
    op
}

/// A linear operator as ONNX knows it: a convolution.
pub(super) struct Filter<T> {
    /// Output channels, input channels per group, kernel rows, kernel columns.
    pub dims: [usize; 4],
    /// In the order of `dims`.
    pub weights: Vec<T>,
    pub window: Window,
    pub groups: usize,
}

impl<T: Copy> Filter<T> {
    /// Reorders `weights` of `op`, which has `channels` outputs, from the plan's layout.
    pub fn new(op: Op, weights: &[T], channels: usize) -> Self {
        let filter = weights.len() / channels;
        let point = Window::valid(1, 1);
        let (inputs, window, groups) = match op {
            Op::Conv { window, .. } => (filter / window.taps(), window, 1),
            Op::Depthwise { window } | Op::AvgPool { window } => (1, window, channels),
            Op::ChannelScale => (1, point, channels),
            _ => (filter, point, 1),
        };
        let taps = window.taps();
        let at = |o: usize, i: usize, tap: usize| match op {
            Op::Depthwise { .. } => weights[tap * channels + o],
            _ => weights[(o * taps + tap) * inputs + i],
        };
        let all = 0..weights.len();
        let weights = all.map(|k| at(k / filter, k % filter / taps, k % taps)).collect();
        let [kh, kw] = window.kernel.map(usize::from);
        Self { dims: [channels, inputs, kh, kw], weights, window, groups }
    }

    /// The attributes of the convolution.
    pub fn attributes(&self) -> Vec<AttributeProto> {
        let mut attributes = window(self.window);
        attributes.push(int("group", self.groups as i64));
        attributes
    }
}
