package decode

import "k8s.io/apimachinery/pkg/runtime/schema"

// Pods returns the resource of Pods.
func Pods() Resource { return namespaced("", "Pod", "pods") }

// Lookup returns the built-in resource of a kind, under any API group that Kubernetes has served it in: an old owner
// reference may say extensions where it means apps. A custom resource is not found: its path is <group>/<plural>, and whether
// it has namespaces stands in its CustomResourceDefinition.
func Lookup(kind schema.GroupKind) (Resource, bool) {
	kind = stored(kind)
	for _, r := range BuiltIns() {
		if r.GroupKind == kind {
			return r, true
		}
	}
	return Resource{}, false
}

// BuiltIns returns the resources that kube-apiserver of Kubernetes 1.16 to 1.37 stores without the help of a
// CustomResourceDefinition, each under the API group that it has today. Their paths leave the group out, except for the two
// that carry the API itself. Paths that differ from the plural, and kinds that several groups have served, are in
// k8s.io/kubernetes pkg/kubeapiserver/default_storage_factory_builder.go; the rest are in pkg/registry/*/rest.
//
// What kube-apiserver keeps for itself is not among them: ranges, masterleases and peerserverleases.
func BuiltIns() []Resource {
	return []Resource{
		namespaced("", "Pod", "pods"),
		namespaced("", "ReplicationController", "controllers"),
		namespaced("", "Event", "events"),
		cluster("", "Node", "minions"),
		cluster("", "Namespace", "namespaces"),
		namespaced("", "Service", "services/specs"),
		namespaced("", "Endpoints", "services/endpoints"),
		namespaced("", "ConfigMap", "configmaps"),
		namespaced("", "LimitRange", "limitranges"),
		cluster("", "PersistentVolume", "persistentvolumes"),
		namespaced("", "PersistentVolumeClaim", "persistentvolumeclaims"),
		namespaced("", "PodTemplate", "podtemplates"),
		namespaced("", "ResourceQuota", "resourcequotas"),
		namespaced("", "Secret", "secrets"),
		namespaced("", "ServiceAccount", "serviceaccounts"),

		cluster("admissionregistration.k8s.io", "MutatingAdmissionPolicy", "mutatingadmissionpolicies"),
		cluster("admissionregistration.k8s.io", "MutatingAdmissionPolicyBinding", "mutatingadmissionpolicybindings"),
		cluster("admissionregistration.k8s.io", "MutatingWebhookConfiguration", "mutatingwebhookconfigurations"),
		cluster("admissionregistration.k8s.io", "ValidatingAdmissionPolicy", "validatingadmissionpolicies"),
		cluster("admissionregistration.k8s.io", "ValidatingAdmissionPolicyBinding", "validatingadmissionpolicybindings"),
		cluster("admissionregistration.k8s.io", "ValidatingWebhookConfiguration", "validatingwebhookconfigurations"),

		namespaced("apps", "ControllerRevision", "controllerrevisions"),
		namespaced("apps", "DaemonSet", "daemonsets"),
		namespaced("apps", "Deployment", "deployments"),
		namespaced("apps", "ReplicaSet", "replicasets"),
		namespaced("apps", "StatefulSet", "statefulsets"),

		namespaced("autoscaling", "HorizontalPodAutoscaler", "horizontalpodautoscalers"),

		namespaced("batch", "CronJob", "cronjobs"),
		namespaced("batch", "Job", "jobs"),

		cluster("certificates.k8s.io", "CertificateSigningRequest", "certificatesigningrequests"),
		cluster("certificates.k8s.io", "ClusterTrustBundle", "clustertrustbundles"),
		namespaced("certificates.k8s.io", "PodCertificateRequest", "podcertificaterequests"),

		namespaced("coordination.k8s.io", "Lease", "leases"),
		namespaced("coordination.k8s.io", "LeaseCandidate", "leasecandidates"),

		namespaced("discovery.k8s.io", "EndpointSlice", "endpointslices"),

		cluster("flowcontrol.apiserver.k8s.io", "FlowSchema", "flowschemas"),
		cluster("flowcontrol.apiserver.k8s.io", "PriorityLevelConfiguration", "prioritylevelconfigurations"),

		cluster("internal.apiserver.k8s.io", "StorageVersion", "storageversions"),

		namespaced("lifecycle.k8s.io", "Eviction", "evictions"),
		namespaced("lifecycle.k8s.io", "EvictionRequest", "evictionrequests"),

		cluster("networking.k8s.io", "IPAddress", "ipaddresses"),
		namespaced("networking.k8s.io", "Ingress", "ingress"),
		cluster("networking.k8s.io", "IngressClass", "ingressclasses"),
		namespaced("networking.k8s.io", "NetworkPolicy", "networkpolicies"),
		cluster("networking.k8s.io", "ServiceCIDR", "servicecidrs"),

		cluster("node.k8s.io", "RuntimeClass", "runtimeclasses"),

		namespaced("policy", "PodDisruptionBudget", "poddisruptionbudgets"),
		cluster("policy", "PodSecurityPolicy", "podsecuritypolicy"),

		cluster("rbac.authorization.k8s.io", "ClusterRole", "clusterroles"),
		cluster("rbac.authorization.k8s.io", "ClusterRoleBinding", "clusterrolebindings"),
		namespaced("rbac.authorization.k8s.io", "Role", "roles"),
		namespaced("rbac.authorization.k8s.io", "RoleBinding", "rolebindings"),

		cluster("resource.k8s.io", "DeviceClass", "deviceclasses"),
		cluster("resource.k8s.io", "DeviceTaintRule", "devicetaintrules"),
		namespaced("resource.k8s.io", "ResourceClaim", "resourceclaims"),
		namespaced("resource.k8s.io", "ResourceClaimTemplate", "resourceclaimtemplates"),
		cluster("resource.k8s.io", "ResourcePoolStatusRequest", "resourcepoolstatusrequests"),
		cluster("resource.k8s.io", "ResourceSlice", "resourceslices"),

		namespaced("scheduling.k8s.io", "CompositePodGroup", "compositepodgroups"),
		namespaced("scheduling.k8s.io", "PodGroup", "podgroups"),
		cluster("scheduling.k8s.io", "PriorityClass", "priorityclasses"),
		namespaced("scheduling.k8s.io", "Workload", "workloads"),

		cluster("storage.k8s.io", "CSIDriver", "csidrivers"),
		cluster("storage.k8s.io", "CSINode", "csinodes"),
		namespaced("storage.k8s.io", "CSIStorageCapacity", "csistoragecapacities"),
		cluster("storage.k8s.io", "StorageClass", "storageclasses"),
		cluster("storage.k8s.io", "VolumeAttachment", "volumeattachments"),
		cluster("storage.k8s.io", "VolumeAttributesClass", "volumeattributesclasses"),

		cluster("storagemigration.k8s.io", "StorageVersionMigration", "storageversionmigrations"),

		cluster("apiextensions.k8s.io", "CustomResourceDefinition", "apiextensions.k8s.io/customresourcedefinitions"),
		cluster("apiregistration.k8s.io", "APIService", "apiregistration.k8s.io/apiservices"),
	}
}

func namespaced(group, kind, path string) Resource {
	return Resource{GroupKind: schema.GroupKind{Group: group, Kind: kind}, Path: path, Namespaced: true}
}

func cluster(group, kind, path string) Resource {
	return Resource{GroupKind: schema.GroupKind{Group: group, Kind: kind}, Path: path}
}

// stored returns the one name of a kind that API groups have shared ("cohabitating resources"): the same key may hold it
// under any of them.
func stored(kind schema.GroupKind) schema.GroupKind {
	switch kind {
	case schema.GroupKind{Group: "extensions", Kind: "DaemonSet"},
		schema.GroupKind{Group: "extensions", Kind: "Deployment"},
		schema.GroupKind{Group: "extensions", Kind: "ReplicaSet"}:
		kind.Group = "apps"
	case schema.GroupKind{Group: "extensions", Kind: "Ingress"},
		schema.GroupKind{Group: "extensions", Kind: "NetworkPolicy"}:
		kind.Group = "networking.k8s.io"
	case schema.GroupKind{Group: "extensions", Kind: "PodSecurityPolicy"}:
		kind.Group = "policy"
	case schema.GroupKind{Group: "events.k8s.io", Kind: "Event"}:
		kind.Group = ""
	}
	return kind
}
